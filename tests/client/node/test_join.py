"""Whatever a kit says, the site's files hold the settings that they should and no others."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.node.join import join
from client.site.policy import SitePolicy, check_request, load_policy
from client.site.site_file import SiteHome
from common.config.study import StudyConfig, from_dict
from common.errors import ConfigError, TrustError
from common.trust.kit import Kit, read_kit, study_digest, write_kit
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


def test_a_kit_alone_does_not_put_another_hub_in_the_place_of_the_pinned_one(tmp_path: Path) -> None:
    home = _joined(tmp_path)
    before = {path: path.read_bytes() for path in (home.hub_key, home.ca, home.path / "study.json")}
    join(home, tmp_path / "kit.zip")
    write_kit(tmp_path / "other.zip", dataclasses.replace(read_kit(tmp_path / "kit.zip"), hub_key="ce" * 32))
    with pytest.raises(TrustError, match="another hub"):
        join(home, tmp_path / "other.zip")
    assert {path: path.read_bytes() for path in before} == before
    join(home, tmp_path / "other.zip", another_hub=True)
    assert home.hub_key.read_text().strip() == "ce" * 32


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


@pytest.mark.parametrize(
    ("subgroups", "columns"),
    [
        (["scanner", "age:40,50"], ("age", "scanner")),
        (["a]\nceiling: 9", "b{: 1", "\u2028"], ()),
        ("scanner", ()),
        (None, ()),
    ],
)
def test_the_policy_names_the_columns_of_the_study_and_no_other_words(
    tmp_path: Path, subgroups: object, columns: tuple[str, ...]
) -> None:
    study = json.loads(json.dumps(STUDY))
    study["evaluation"]["subgroups"] = subgroups
    path = _joined(tmp_path, study).path / "policy.yaml"
    (line,) = [line for line in path.read_text().splitlines() if line.startswith("# subgroups:")]
    path.write_text(line[2:])
    assert load_policy(path).subgroups == columns


def _plain_policy(folder: Path) -> Any:
    folder.mkdir()
    return yaml.safe_load((_joined(folder).path / "policy.yaml").read_text())


def test_each_line_of_the_policy_can_be_opened_by_itself(tmp_path: Path) -> None:
    closed_file = _joined(tmp_path).path / "policy.yaml"
    text = closed_file.read_text()
    lines = [line for line in text.splitlines() if line.startswith("# ")]
    closed = load_policy(closed_file)
    assert closed == SitePolicy() and len(lines) >= 10
    opened = tmp_path / "opened.yaml"
    for line in lines:
        key, _, _ = line[2:].partition(":")
        opened.write_text(text.replace(f"\n{line}\n", f"\n{line[2:]}\n"))
        found = load_policy(opened)
        assert dataclasses.replace(closed, **{key: getattr(found, key)}) == found, f"{line} opens itself alone"
    opened.write_text("\n".join(line[2:] if line.startswith("# ") else line for line in text.splitlines()))
    check_request(load_policy(opened), from_dict(STUDY), 100, datetime(2026, 1, 1, 23))


def test_declared_patients_stand_in_the_request_and_the_settings(tmp_path: Path) -> None:
    home, kit = _joined(tmp_path), tmp_path / "kit.zip"
    assert home.read().declared_patients == 1
    fresh = SiteHome(tmp_path / "other")
    assert join(fresh, kit, declared_patients=200).declared_patients == 200
    assert fresh.read().declared_patients == 200
    assert join(fresh, kit).declared_patients == 200
    with pytest.raises(ConfigError, match="change it there first"):
        join(fresh, kit, declared_patients=300)


def test_a_kit_of_another_name_does_not_advise_a_second_account(tmp_path: Path) -> None:
    """Before: the text told a hospital to use another home, whose ledger knows nothing of what its patients spent."""
    _joined(tmp_path)
    (tmp_path / "kit.zip").unlink()
    with pytest.raises(ConfigError, match=r"invitation of north.*second home.*account that knows nothing"):
        _joined(tmp_path, site="north-2")
    assert SiteHome(tmp_path / "home").read().name == "north"
