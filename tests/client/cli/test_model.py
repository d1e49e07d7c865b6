"""`oncofed-site model` and `oncofed-site predict` as a department types them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import stat
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from client.cli.main import app
from client.site.lifecycle.registry import SiteRegistry
from client.site.packages import KeptPackages, Pointer
from client.site.site_file import SiteHome, open_data
from common.errors import ConfigError, TrustError
from common.inference.local import FACTS, FEATURES, read_local
from common.inference.package import Package, load_package
from common.inference.record import records
from common.inference.signatures import sign_package
from common.trust.registry import Move
from common.trust.signing import SiteKey
from simulations.data.phantom import make_phantom
from tests.client.conftest import joined
from tests.common.data.layouts import table

__all__ = ["joined"]


@pytest.fixture
def hub_key(joined: SiteHome, tmp_path: Path) -> SiteKey:
    """The key that the site knows as its hub's."""
    key = SiteKey.open(tmp_path / "hub")
    joined.hub_key.write_text(key.public_hex)
    return key


@pytest.fixture
def signed(folder: Path, package: Package, hub_key: SiteKey) -> Path:
    sign_package(folder, package.digest, "hub", hub_key)
    return folder


@pytest.fixture
def active(joined: SiteHome, signed: Path, package: Package) -> Package:
    """The package, kept and made active."""
    kept = KeptPackages(joined.path)
    found = kept.add(signed, kept.pins({}))
    _in_use(joined, found.digest)
    return found


def _in_use(home: SiteHome, active: str, shadow: str | None = None) -> None:
    """Makes one package the active one by the moves that people make, and another the shadow."""
    move = partial(Move, by=("anna", "ben"), time="2026-01-01T00:00:00+00:00")
    steps = [
        move(package=active, to="shadow", cause="person", gate="g"),
        move(package=active, to="active", cause="gate", gate="g", agreement="x"),
    ]
    if shadow is not None:
        steps = [move(package=shadow, to="shadow", cause="person", gate="g")]
    with SiteRegistry(home.path).moving() as mover:
        mover(*steps)


def site(home: SiteHome, *words: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--home", str(home.path)])


def test_a_package_is_kept_once_the_hub_has_signed_it(
    joined: SiteHome, folder: Path, package: Package, hub_key: SiteKey, tmp_path: Path
) -> None:
    refused = site(joined, "model", "add", folder)
    assert refused.exit_code == 5 and "key of hub" in refused.stderr
    sign_package(folder, package.digest, "hub", hub_key)
    north = SiteKey.open(tmp_path / "north")
    assert site(joined, "model", "add", folder, "--key", f"north={north.public_hex}").exit_code == 5
    sign_package(folder, package.digest, "north", north)
    done = site(joined, "model", "add", folder, "--key", f"north={north.public_hex}")
    assert done.exit_code == 0 and done.stdout.strip() == package.digest and "hub, north" in done.stderr
    assert site(joined, "model", "add", folder).exit_code == 3
    assert site(joined, "model", "add", folder, "--key", "north=zz").exit_code == 2
    listed = json.loads(site(joined, "model", "list", "--json").stdout)["data"]["packages"]
    assert [(row["digest"], row["state"], row["problem"]) for row in listed] == [(package.digest, "kept", "")]


def test_a_kept_package_that_was_changed_is_listed_as_a_problem_and_never_used(
    joined: SiteHome, active: Package, pictures: Path
) -> None:
    (active.folder / "calibration.json").write_text("{}")
    (row,) = json.loads(site(joined, "model", "list", "--json").stdout)["data"]["packages"]
    assert row["state"] == "active" and "not the file" in row["problem"]
    done = site(joined, "predict", "--in", pictures)
    assert done.exit_code == 3 and not records(joined.path / "records.jsonl").records


def test_another_package_under_a_known_digest_is_refused(joined: SiteHome, active: Package) -> None:
    other = active.folder.with_name("ab" * 32)
    shutil.copytree(active.folder, other)
    with pytest.raises(TrustError, match="holds the package"):
        KeptPackages(joined.path).load("ab" * 32)
    with pytest.raises(ConfigError, match="0 packages"):
        KeptPackages(joined.path).load("cd")


def test_a_site_signs_a_package(joined: SiteHome, folder: Path, package: Package) -> None:
    done = site(joined, "model", "sign", folder)
    assert done.exit_code == 0, done.output
    key = SiteKey.read(joined.signing_key).public_hex
    assert load_package(folder, datetime.now(UTC), {"north": key}).digest == package.digest


@pytest.mark.parametrize("text", ["", "[]", '{"active": "x"}', '{"active": 3, "shadow": null}'])
def test_a_damaged_pointer_stops_everything(joined: SiteHome, active: Package, pictures: Path, text: str) -> None:
    (joined.path / "models" / "pointer.json").write_text(text)
    assert site(joined, "predict", "--in", pictures).exit_code == 5


def test_each_exam_leaves_a_record_a_document_and_pictures(
    joined: SiteHome, active: Package, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = site(joined, "predict", "--in", pictures, "--out", out)
    assert done.exit_code == 0, done.output
    kept = records(joined.path / "records.jsonl").records
    assert (
        len(kept) == 12 and {one.state for one in kept} == {"active"} and {one.model for one in kept} == {active.digest}
    )
    assert stat.S_IMODE((joined.path / "records.jsonl").stat().st_mode) == 0o600
    for one in kept:
        (file,) = out.glob(f"*{one.record[:12]}.json")
        document = json.loads(file.read_text())
        assert document["exam"] == one.exam and document["probability"] == one.probability
        assert "Research use only" in document["notice"]
        images = len(list((pictures / one.exam).iterdir()))
        assert len(document["pictures"]) == images == len(document["inputs"])
        assert all((out / name).is_file() for name in document["pictures"])


def test_what_goes_to_a_log_names_no_exam(joined: SiteHome, active: Package, pictures: Path) -> None:
    done = site(joined, "predict", "--in", pictures)
    names = [path.name for path in pictures.iterdir()]
    assert all(name in done.stdout for name in names) and not any(name in done.stderr for name in names)
    lines = site(joined, "predict", "--in", pictures, "--json").stdout.splitlines()
    assert sorted(json.loads(line)["exam"] for line in lines) == sorted(names)


def test_nothing_to_read_is_never_a_success(joined: SiteHome, active: Package, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert site(joined, "predict", "--in", tmp_path / "empty").exit_code == 4
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = site(joined, "predict", tmp_path / "bad.png")
    assert done.exit_code == 4 and "NO ANSWER: unreadable" in done.stdout
    (one,) = records(joined.path / "records.jsonl").records
    assert one.probability is None
    assert site(joined, "predict").exit_code == 2


def test_without_an_active_model_a_package_must_be_named(joined: SiteHome, signed: Path, pictures: Path) -> None:
    assert site(joined, "predict", "--in", pictures).exit_code == 3
    done = site(joined, "predict", "--in", pictures, "--package", signed)
    assert done.exit_code == 0, done.output
    assert {one.state for one in records(joined.path / "records.jsonl").records} == {"none"}


def test_a_shadow_sees_the_same_exams_and_shows_nothing(
    joined: SiteHome, active: Package, hub_key: SiteKey, pictures: Path, tmp_path: Path
) -> None:
    kept = KeptPackages(joined.path)
    other = dataclasses.replace(active.manifest, name="challenger")
    challenger = Path(shutil.copytree(active.folder, tmp_path / "challenger"))
    (challenger / "package.json").write_text(other.text())
    sign_package(challenger, other.digest, "hub", hub_key)
    kept.add(challenger, kept.pins({}))
    _in_use(joined, active.digest, other.digest)
    assert kept.pointer() == Pointer(active.digest, other.digest)
    done = site(joined, "predict", "--in", pictures, "--out", tmp_path / "out")
    lines = records(joined.path / "records.jsonl").records
    assert {(one.state, one.model) for one in lines} == {("active", active.digest), ("shadow", other.digest)}
    pairs = [[one.exam for one in lines if one.state == state] for state in ("active", "shadow")]
    assert pairs[0] == pairs[1] and len(pairs[0]) == 12
    assert len(list((tmp_path / "out").glob("*.json"))) == 12 and done.stdout.count("threshold") < 30


def test_a_shadow_that_is_refused_takes_no_result_away(joined: SiteHome, active: Package, pictures: Path) -> None:
    _in_use(joined, active.digest, "ab" * 32)
    done = site(joined, "predict", "--in", pictures)
    assert done.exit_code == 0 and "The shadow does not run" in done.stderr
    assert {one.state for one in records(joined.path / "records.jsonl").records} == {"active"}


def test_a_site_calibrates_on_its_own_patients_and_keeps_it(joined: SiteHome, active: Package, pictures: Path) -> None:
    _with_own_patients(joined, 160)
    done = site(joined, "model", "calibrate", active.digest[:8])
    assert done.exit_code == 0, done.output
    for name in (FACTS, FEATURES):
        assert stat.S_IMODE((active.folder / name).stat().st_mode) == 0o600
    found = read_local(active)
    assert found is not None and found.sets.can_tell and found.features is not None
    patients = open_data(joined.read().data).in_split("val").patients()
    assert found.facts.patients + found.facts.left_out == len(patients)
    done = site(joined, "predict", "--in", pictures)
    assert done.exit_code == 0 and "has not calibrated" not in done.stdout
    told = {one.set for one in records(joined.path / "records.jsonl").records}
    assert None not in told and told & {("benign",), ("malignant",), ("benign", "malignant")}
    assert all(one.feature_distance is not None for one in records(joined.path / "records.jsonl").records)


def test_too_few_patients_of_a_class_make_no_set(joined: SiteHome, active: Package, pictures: Path) -> None:
    _with_own_patients(joined, 40)
    done = site(joined, "model", "calibrate")
    assert done.exit_code == 0 and "too few patients" in done.stderr
    done = site(joined, "predict", "--in", pictures)
    assert "are too few" in done.stdout
    assert {one.set for one in records(joined.path / "records.jsonl").records} == {None}


def _with_own_patients(home: SiteHome, patients: int) -> None:
    """Writes phantoms as the site's manifest, and what the site's file says of them."""
    import numpy as np
    from PIL import Image

    folder = home.path.parent / "own"
    folder.mkdir()
    phantom = make_phantom(patients, 11, 128)
    rows: list[list[object]] = [["image", "patient", "label"]]
    for record in phantom.records:
        Image.fromarray(np.round(255 * phantom.read(record.image)).astype(np.uint8)).save(
            folder / f"{record.image}.png"
        )
        rows.append([f"{record.image}.png", record.patient, "malignant" if record.label else "benign"])
    table(folder / "manifest.csv", rows)
    settings = yaml.safe_load(home.site_file.read_text())
    data = settings["data"] | {
        "name": "manifest", "root": str(folder / "manifest.csv"), "split_seed": 5, "train_share": 0.6, "val_share": 0.2,
    }  # fmt: skip
    home.site_file.write_text(yaml.safe_dump(settings | {"data": data}))
