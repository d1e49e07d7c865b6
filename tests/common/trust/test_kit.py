"""A kit and a request are believed whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import pytest

from common.config.study import StudyConfig
from common.errors import ConfigError, TrustError
from common.trust import kit as kits
from common.trust.client_certificate import create_client_certificate
from common.trust.pki import create_authority, create_node_key
from common.trust.signing import SiteKey


@pytest.fixture
def kit(tmp_path: Path) -> kits.Kit:
    create_authority(tmp_path / "ca.key", tmp_path / "ca.crt", "consortium")
    study = StudyConfig(name="mammae")
    return kits.Kit(
        site="north",
        hub="hub.example.org:9443",
        hub_key="cd" * 32,
        invitation="ab" * 16,
        study_digest=study.digest(),
        study=study.travelling(),
        ca=(tmp_path / "ca.crt").read_text(),
    )


def test_a_kit_comes_back_as_it_was_and_is_the_same_file_each_time(kit: kits.Kit, tmp_path: Path) -> None:
    kits.write_kit(tmp_path / "a.zip", kit)
    kits.write_kit(tmp_path / "b.zip", kit)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert kits.read_kit(tmp_path / "a.zip") == dataclasses.replace(kit, study=json.loads(json.dumps(kit.study)))


@pytest.mark.parametrize("name", [*kits.FILES, kits.SUMS])
def test_a_kit_with_any_file_changed_or_gone_is_refused(kit: kits.Kit, tmp_path: Path, name: str) -> None:
    for changed in (None, b"other"):
        kits.write_kit(tmp_path / "kit.zip", kit)
        with zipfile.ZipFile(tmp_path / "kit.zip") as archive:
            files = {info: archive.read(info) for info in archive.namelist()}
        with zipfile.ZipFile(tmp_path / "kit.zip", "w") as archive:
            for info, content in files.items():
                if info != name:
                    archive.writestr(info, content)
                elif changed is not None:
                    archive.writestr(info, changed)
        with pytest.raises(TrustError):
            kits.read_kit(tmp_path / "kit.zip")


def test_a_kit_whose_card_names_another_study_is_refused(kit: kits.Kit, tmp_path: Path) -> None:
    kits.write_kit(tmp_path / "kit.zip", dataclasses.replace(kit, study_digest="0" * 64))
    with pytest.raises(TrustError, match="digest"):
        kits.read_kit(tmp_path / "kit.zip")


def test_what_is_no_kit_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no kit"):
        kits.read_kit(tmp_path / "absent.zip")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(TrustError, match="not a kit"):
        kits.read_kit(tmp_path / "text.zip")


@pytest.mark.parametrize("field", ["site", "invitation", "node_key", "signing_key", "certificate"])
def test_a_request_changed_after_it_was_signed_is_refused(kit: kits.Kit, tmp_path: Path, field: str) -> None:
    node_key, signing_key = create_node_key(tmp_path / "node", "x"), SiteKey.open(tmp_path / "key")
    request = kits.signed_request(kit, node_key, _certificate(tmp_path / "tls"), signing_key)
    kits.write_request(tmp_path / "request.json", request)
    assert kits.read_request(tmp_path / "request.json") == request
    other = {
        "site": "south",
        "invitation": "cd" * 16,
        "node_key": create_node_key(tmp_path / "other", "x"),
        "signing_key": SiteKey.open(tmp_path / "other_key").public_hex,
        "certificate": _certificate(tmp_path / "other_tls"),
    }
    forged = dataclasses.replace(request, **{field: other[field]})
    kits.write_request(tmp_path / "request.json", forged)
    assert forged.fingerprint != request.fingerprint
    with pytest.raises(TrustError, match="changed"):
        kits.read_request(tmp_path / "request.json")


def _certificate(stem: Path) -> str:
    return create_client_certificate(stem.with_suffix(".key"), stem.with_suffix(".crt"), "north")


@pytest.mark.parametrize(
    "hub",
    ["", "hub", "hub:", "hub:123456", ":9443", "a b:1", "h:1\n", 'h"\nledger: "x:1', "h#:1", "[::1:9443", "h:\u0661"],
)
def test_a_kit_names_its_hub_by_an_address_and_nothing_else(kit: kits.Kit, tmp_path: Path, hub: str) -> None:
    with pytest.raises(ConfigError, match="not usable"):
        dataclasses.replace(kit, hub=hub)
    for good in ("hub.example.org:443", "10.0.0.5:9443", "[fd00::5]:9443", "hub_1:1"):
        assert dataclasses.replace(kit, hub=good).hub == good


def test_a_request_with_the_certificate_of_another_name_is_refused(kit: kits.Kit, tmp_path: Path) -> None:
    """The proxy would look for north's certificate and find this one."""
    node_key, key = create_node_key(tmp_path / "node", "x"), SiteKey.open(tmp_path / "key")
    with pytest.raises(TrustError, match="the name aaa alone"):
        kits.signed_request(dataclasses.replace(kit, site="aaa"), node_key, _certificate(tmp_path / "tls"), key)
    request = kits.signed_request(kit, node_key, _certificate(tmp_path / "tls"), key)
    forged = dataclasses.replace(request, site="aaa")
    kits.write_request(tmp_path / "r.json", dataclasses.replace(forged, signature=key.sign(forged.text())))
    with pytest.raises(TrustError, match="the name aaa alone"):
        kits.read_request(tmp_path / "r.json")


@pytest.mark.parametrize("name", ["", "../up", "North", "a b", "a" * 41, "_x"])
def test_a_site_name_is_a_plain_word(name: str) -> None:
    with pytest.raises(ConfigError):
        kits.check_site_name(name)
