"""From a run to a released model: hospitals sign what they have scored, and the hub needs as many as the study says."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from client.cli.main import app as site_app
from client.site.scored import endorse, note_scored, scored
from common.config.overrides import split_overrides
from common.config.study import compose
from common.errors import ConfigError, TrustError
from common.inference.package import load_package
from common.protocol.messages import Request
from common.trust.kit import JoinRequest
from common.trust.signing import SiteKey
from server.hub.home import HubConfig, HubHome, create
from server.hub.journal import read
from server.hub.registry import Registry
from server.hub.release import release
from tests.scenarios.conftest import QUICK, Federation

SITES = ("site_1", "site_2", "site_3")


@pytest.fixture
def hub(federation: Federation, tmp_path: Path) -> HubHome:
    """A hub that knows the three sites, after a run whose model needs two signatures."""
    federation.run("strategy.release_signatures=2")
    home = HubHome(tmp_path / "hub")
    create(home, HubConfig())
    for name in SITES:
        _admit(home, name, federation.folder / "sites" / name)
    return home


def _key(folder: Path) -> str:
    return SiteKey.open(folder / "keys" / "site.ed25519").public_hex


def _admit(home: HubHome, name: str, folder: Path) -> None:
    (folder / "site.yaml").write_text(f"{{name: {name}, hub: '127.0.0.1:1', declared_patients: 1, data: {{}}}}")
    registry = Registry(home.sites_file)
    request = JoinRequest(
        site=name,
        invitation=registry.invite(name).invitation,
        node_key=f"key of {name}",
        signing_key=_key(folder),
        certificate="",
    )
    registry.approve(request)


def _signed(federation: Federation, name: str, out: Path) -> Path:
    """What a person at the site does on the command line."""
    home = federation.folder / "sites" / name
    run = federation.read("run.json")["run_id"]
    done = CliRunner().invoke(site_app, ["endorse", run, "--out", str(out), "--home", str(home)])
    assert done.exit_code == 0, done.output
    return out


def test_two_of_three_hospitals_release_the_weights_that_they_scored(
    federation: Federation, hub: HubHome, tmp_path: Path
) -> None:
    files = [_signed(federation, name, tmp_path / f"{name}.json") for name in SITES[1:]]
    found = release(hub, federation.folder, files, tmp_path / "out")
    assert found["needed"] == 2 and [one["site"] for one in found["endorsements"]] == ["site_2", "site_3"]
    assert json.loads((tmp_path / "out" / "release.json").read_text()) == found
    released, made = tmp_path / "out" / "model.safetensors", federation.folder / "model" / "model.safetensors"
    assert released.read_bytes() == made.read_bytes()
    assert (tmp_path / "out" / "model_card.md").exists()


def test_one_signature_twice_a_revoked_site_and_a_changed_file_release_nothing(
    federation: Federation, hub: HubHome, tmp_path: Path
) -> None:
    one, two = (_signed(federation, name, tmp_path / f"{name}.json") for name in SITES[:2])
    with pytest.raises(TrustError, match="2 different sites and has those of site_1"):
        release(hub, federation.folder, [one, one], tmp_path / "out")
    changed = json.loads(two.read_text()) | {"weights": "00" * 32}
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    with pytest.raises(TrustError, match="site_2 signed another weights"):
        release(hub, federation.folder, [one, tmp_path / "changed.json"], tmp_path / "out")
    Registry(hub.sites_file).revoke("site_2")
    with pytest.raises(TrustError, match="'site_2' is no approved site"):
        release(hub, federation.folder, [one, two], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_does_not_hold_is_not_released_beside_what_does(
    federation: Federation, hub: HubHome, tmp_path: Path
) -> None:
    good = [_signed(federation, name, tmp_path / f"{name}.json") for name in SITES[:2]]
    stale = tmp_path / "stale.json"
    stale.write_text(json.dumps(json.loads(good[0].read_text()) | {"run": "cd34"}))
    found = release(hub, federation.folder, [*good, stale], tmp_path / "out")
    assert found["endorsements"] == [json.loads(path.read_text()) for path in good]


def test_a_threshold_that_was_lowered_after_the_run_does_not_count(
    federation: Federation, hub: HubHome, tmp_path: Path
) -> None:
    study = federation.read("study.json")
    study["strategy"]["release_signatures"] = 0
    (federation.folder / "study.json").write_text(json.dumps(study))
    with pytest.raises(TrustError, match="changed after the run"):
        release(hub, federation.folder, [], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_whoever_receives_a_model_verifies_it_with_the_keys_that_hospitals_told(
    federation: Federation, hub: HubHome, tmp_path: Path
) -> None:
    from server.cli.main import app

    files = [_signed(federation, name, tmp_path / f"{name}.json") for name in SITES[:2]]
    release(hub, federation.folder, files, tmp_path / "out")
    keys = {name: _key(federation.folder / "sites" / name) for name in SITES}

    def verified(*names: str, **other: str) -> int:
        given = [f"--key={name}={keys[name]}" for name in names] + [f"--key={n}={key}" for n, key in other.items()]
        return CliRunner().invoke(app, ["verify-release", str(tmp_path / "out"), *given]).exit_code

    assert (verified("site_1"), verified("site_1", "site_2")) == (0, 0)
    assert (verified(), verified("site_1", "site_3"), verified("site_1", site_2=keys["site_3"])) == (3, 5, 5)
    path = tmp_path / "out" / "model.safetensors"
    state = load_file(path)
    save_file({name: value + 1 for name, value in state.items()}, path)
    assert verified("site_1") == 5
    (tmp_path / "out" / "release.json").write_text('{"run": 3}')
    assert verified("site_1") == 3


def test_weights_changed_after_the_run_are_not_released(federation: Federation, hub: HubHome, tmp_path: Path) -> None:
    files = [_signed(federation, name, tmp_path / f"{name}.json") for name in SITES]
    path = federation.folder / "model" / "model.safetensors"
    state = load_file(path)
    name = min(state)
    save_file(state | {name: np.nextafter(state[name], np.inf, dtype=state[name].dtype)}, path)
    with pytest.raises(TrustError, match="signed another weights"):
        release(hub, federation.folder, files, tmp_path / "out")


def test_the_command_journals_what_it_released(
    federation: Federation, hub: HubHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.cli.main import app

    given = [f"--endorsement={_signed(federation, name, tmp_path / f'{name}.json')}" for name in SITES]
    out = ["--out", str(tmp_path / "out"), "--home", str(hub.path)]
    refused = CliRunner().invoke(app, ["release", str(federation.folder), *given[:1], *out])
    assert refused.exit_code == 5
    done = CliRunner().invoke(app, ["release", str(federation.folder), *given, *out])
    assert done.exit_code == 0, done.output
    entry = json.loads(read(hub)[-1].text)
    assert (entry["event"], entry["sites"]) == ("release", "site_1, site_2, site_3")
    signed = {"hub": SiteKey.open(hub.signing_key).public_hex}
    package = load_package(tmp_path / "out" / "package", datetime.now(UTC), signed)
    assert package.digest == entry["package"] and package.digest in done.output
    assert not package.manifest.emulated and package.appearance is None
    again = CliRunner().invoke(app, ["release", str(federation.folder), *given, *out])
    assert again.exit_code == 3 and "exists" in again.output


def test_a_site_lists_what_it_scored_and_signs_nothing_else(federation: Federation, hub: HubHome) -> None:
    home = federation.folder / "sites" / "site_1"
    (note,) = scored(home)
    assert note["run"] == federation.read("run.json")["run_id"]
    for run in ("0" * 16, "../../etc", ""):
        with pytest.raises(ConfigError, match="scored no model"):
            endorse(home, run, SiteKey.open(home / "keys" / "site.ed25519"))


def test_a_site_that_lost_its_key_or_is_none_signs_nothing_and_makes_no_key(
    federation: Federation, hub: HubHome, tmp_path: Path
) -> None:
    home, run = federation.folder / "sites" / "site_1", federation.read("run.json")["run_id"]
    (home / "keys" / "site.ed25519").unlink()
    (tmp_path / "nobody").mkdir()
    for place, code, said in ((home, 5, "no key at"), (tmp_path / "nobody", 3, "no site in")):
        command = ["endorse", run, "--out", str(tmp_path / "signed.json"), "--home", str(place)]
        done = CliRunner().invoke(site_app, command)
        assert done.exit_code == code and said in " ".join(done.output.split())
        assert not (place / "keys" / "site.ed25519").exists()
    assert not (tmp_path / "signed.json").exists() and not (tmp_path / "nobody" / "keys").exists()


def test_a_run_opens_its_test_with_one_model_only(federation: Federation, hub: HubHome) -> None:
    home = federation.folder / "sites" / "site_1"
    (note,) = scored(home)
    study = compose(split_overrides(f"{QUICK} strategy.release_signatures=2"))
    request = Request(purpose="evaluate", study=study, run=note["run"], split="test")
    note_scored(home, "site_1", request, note["weights"])
    with pytest.raises(TrustError, match="another model"):
        note_scored(home, "site_1", request, "00" * 32)
    with pytest.raises(ConfigError, match="hex digits"):
        note_scored(home, "site_1", dataclasses.replace(request, run="../up"), note["weights"])
    assert scored(home) == [note]


def test_more_signatures_than_sites_are_refused_before_the_first_round(federation: Federation) -> None:
    run = federation.run("strategy.release_signatures=4")
    assert run["status"] == "FAILED" and "release_signatures=4" in run["reason"]


@pytest.mark.parametrize(("least", "status"), [(1, "COMPLETED"), (10_000, "FAILED")])
def test_a_quorum_counts_declared_patients_too(federation: Federation, least: int, status: str) -> None:
    run = federation.run(f"strategy.quorum_patients={least}")
    assert run["status"] == status
    assert status == "COMPLETED" or "of at least 10000 declared patients" in run["reason"]
