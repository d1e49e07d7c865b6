"""A hospital that has joined, with open policy and no image."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from client.node.daemon import SiteDaemon
from client.node.join import join
from client.site.site_file import SiteHome
from common.config.study import StudyConfig
from common.services.supervisor import Child
from common.trust.kit import Kit, write_kit
from common.trust.pki import certificate_facts, create_authority

STUDY = StudyConfig(name="mammae")


@pytest.fixture
def joined(tmp_path: Path) -> SiteHome:
    """The home of the site ``north``."""
    create_authority(tmp_path / "ca.key", tmp_path / "ca.crt", "consortium")
    kit = Kit(
        site="north", hub="127.0.0.1:1", hub_key="cd" * 32, invitation="ab" * 16, study_digest=STUDY.digest(),
        study=STUDY.travelling(), ca=(tmp_path / "ca.crt").read_text(),
    )  # fmt: skip
    write_kit(tmp_path / "kit.zip", kit)
    home = SiteHome(tmp_path / "home")
    join(home, tmp_path / "kit.zip")
    policy = {
        "ceiling": 10.0, "models": ["*"], "studies": ["*"], "modes": ["local"],
        "hubs": [certificate_facts(home.ca).fingerprint],
    }  # fmt: skip
    (home.path / "policy.yaml").write_text(yaml.safe_dump(policy))
    return home


@pytest.fixture
def daemon(joined: SiteHome, monkeypatch: pytest.MonkeyPatch) -> SiteDaemon:
    """The daemon of ``north``, to be run in a thread, with children that do nothing."""

    def idle(self: SiteDaemon, name: str, arguments: list[str]) -> Child:
        log = joined.logs / f"{name}.log"
        return Child(name=name, command=["sleep", "600"], environment={}, folder=joined.path, log=log)

    monkeypatch.setattr(SiteDaemon, "_child", idle)
    monkeypatch.setattr("common.services.supervisor.signal.signal", lambda *_: None)  # threads may not
    return SiteDaemon(joined)
