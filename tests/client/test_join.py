"""Whatever a kit says, the site's files hold the settings that they should and no others."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.join import join
from client.policy import load_policy
from client.site_file import SiteHome
from common.config import StudyConfig
from common.errors import ConfigError
from common.trust.kit import Kit, study_digest, write_kit
from common.trust.pki import create_authority

STUDY = StudyConfig(name="mammae").travelling()


def _joined(folder: Path, study: dict[str, Any] = STUDY, **changed: str) -> SiteHome:
    create_authority(folder / "ca.key", folder / "ca.crt", "consortium")
    kit = Kit(
        site="north", hub="hub.example.org:9443", hub_key="cd" * 32, invitation="ab" * 16,
        study_digest=study_digest(study), study=study,
        ca=(folder / "ca.crt").read_text(),
    )  # fmt: skip
    write_kit(folder / "kit.zip", _forged(kit, **changed))
    home = SiteHome(folder / "home")
    join(home, folder / "kit.zip")
    return home


def _forged(kit: Kit, **changed: str) -> Kit:
    """A kit as a hostile hub writes it, which checks nothing."""
    forged = dataclasses.replace(kit)
    for name, value in changed.items():
        object.__setattr__(forged, name, value)
    return forged


def test_an_address_that_is_more_than_one_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    hub = 'hub.example.org:9443"\nnoise_seed_for_tests_only: 1\nledger: "elsewhere.sqlite'
    with pytest.raises(ConfigError, match="host:port"):
        _joined(tmp_path, hub=hub)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("site", ["123", "null", "true", "1e5"])
def test_a_name_stays_a_name_in_the_settings(tmp_path: Path, site: str) -> None:
    assert _joined(tmp_path, site=site).read().name == site


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028"])
def test_no_word_of_a_study_leaves_the_comment_of_the_policy(tmp_path: Path, end: str) -> None:
    study = json.loads(json.dumps(STUDY))
    study["model"]["name"] = f"resnet{end}ceiling: 100.0{end}#"
    study["privacy"]["mode"] = f"local]{end}studies: ['*'"
    path = _joined(tmp_path, study).path / "policy.yaml"
    plain = _plain_policy(tmp_path / "plain")
    assert yaml.safe_load(path.read_text()) == plain and load_policy(path).ceiling == 0.0
    assert len(path.read_text().splitlines()) == len((tmp_path / "plain/home/policy.yaml").read_text().splitlines())


def _plain_policy(folder: Path) -> Any:
    folder.mkdir()
    return yaml.safe_load((_joined(folder).path / "policy.yaml").read_text())
