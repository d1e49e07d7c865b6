"""A package comes back as it was written, and nothing else is taken for it."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from common.config.study import from_dict, to_dict
from common.errors import ConfigError, ModelError, TrustError
from common.inference import manifest
from common.inference.bundle import METADATA
from common.inference.label import UNKNOWN
from common.inference.package import APPEARANCE, ONNX, WEIGHTS, Package, load_package
from common.inference.signatures import sign_package
from common.inference.writing import Wishes, write_package
from common.trust.signing import SiteKey
from tests.common.models.test_checkpoints import make as make_checkpoint

NOW = datetime.now(UTC)


def test_a_package_reads_back_with_the_same_digest_and_scores(made: Package, package: Package) -> None:
    assert package.digest == made.digest
    assert package.manifest.engine == "onnx" and package.manifest.attention == "cam"
    assert package.golden == 0
    assert package.calibration.where == "consortium"


def test_every_file_is_held_by_the_digest(folder: Path, package: Package) -> None:
    rng = random.Random(1)
    for name in [*package.manifest.files, manifest.FILE]:
        whole = (folder / name).read_bytes()
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(damaged)
        with pytest.raises(ModelError):
            load_package(folder, NOW)
        (folder / name).write_bytes(whole)
    load_package(folder, NOW)


@pytest.mark.parametrize("odd", ["golden/9.png", "model.pkl", "deep/er/x"])
def test_a_file_that_is_not_named_is_refused(folder: Path, odd: str) -> None:
    (folder / odd).parent.mkdir(parents=True, exist_ok=True)
    (folder / odd).write_bytes(b"x")
    with pytest.raises(ModelError, match="differ by"):
        load_package(folder, NOW)


def test_a_missing_file_and_a_link_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / WEIGHTS, tmp_path / WEIGHTS)
    with pytest.raises(ModelError, match="differ by"):
        load_package(folder, NOW)
    (folder / WEIGHTS).symlink_to(tmp_path / WEIGHTS)
    with pytest.raises(ModelError, match="link"):
        load_package(folder, NOW)


def test_no_package_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model package"):
        load_package(tmp_path, NOW)


def test_an_expired_validation_is_refused_from_its_moment_on(folder: Path, package: Package) -> None:
    load_package(folder, package.manifest.expires - timedelta(seconds=1))
    with pytest.raises(TrustError, match="expired"):
        load_package(folder, package.manifest.expires)


def test_a_pinned_key_must_have_signed_this_very_package(folder: Path, package: Package, tmp_path: Path) -> None:
    north, south = (SiteKey.open(tmp_path / name) for name in ("north", "south"))
    pins = {"north": north.public_hex, "south": south.public_hex}
    sign_package(folder, package.digest, "north", north)
    with pytest.raises(TrustError, match="key of south"):
        load_package(folder, NOW, pins)
    sign_package(folder, "0" * 64, "south", south)
    with pytest.raises(TrustError, match="key of south"):
        load_package(folder, NOW, pins)
    sign_package(folder, package.digest, "south", south)
    assert load_package(folder, NOW, pins).digest == package.digest


def test_another_network_is_refused_by_its_golden_scores_though_every_hash_fits(folder: Path, package: Package) -> None:
    changed = (folder / "golden" / "expected.json").read_text()
    document = json.loads(changed)
    document["probability"][0] += 2e-4
    (folder / "golden" / "expected.json").write_text(json.dumps(document))
    _sealed(folder, package)
    with pytest.raises(ModelError, match=r"golden images up to 0\.0002"):
        load_package(folder, NOW)
    document["probability"][0] -= 1.5e-4
    (folder / "golden" / "expected.json").write_text(json.dumps(document))
    _sealed(folder, package)
    assert load_package(folder, NOW).golden == pytest.approx(5e-5, rel=1e-3)


def test_a_broken_graph_is_refused_in_our_words(folder: Path, package: Package) -> None:
    (folder / ONNX).write_bytes((folder / ONNX).read_bytes()[:2000])
    _sealed(folder, package)
    with pytest.raises(ModelError, match="cannot be run"):
        load_package(folder, NOW)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("preprocess.json", {"image_size": 0}),
        ("preprocess.json", {"function": "os.system"}),
        ("preprocess.json", {"mean": 0.5}),
        ("calibration.json", {"slope": -1.0}),
        ("calibration.json", {"intercept": None}),
        ("expects.json", {"modality": "CT"}),
        ("appearance.json", {"measures": 1}),
    ],
)
def test_settings_out_of_their_range_are_refused(
    folder: Path, package: Package, name: str, change: dict[str, Any]
) -> None:
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | change))
    _sealed(folder, package)
    with pytest.raises(ModelError):
        load_package(folder, NOW)


def test_nothing_of_this_machine_stands_in_a_package(made: Package, phantom_run: Path) -> None:
    texts = [path.read_text() for path in made.folder.rglob("*") if path.suffix in (".json", ".md")]
    assert not any(str(phantom_run.parents[1]) in text or "/tmp/" in text for text in texts)


def test_the_label_says_what_is_not_known_and_that_hospitals_were_emulated(made: Package) -> None:
    label = made.label()
    assert label["model"]["developer"] == label["use"]["population"] == label["funding"] == UNKNOWN
    assert any("emulated" in line for line in label["use"]["not_for"])
    assert any("phantoms" in line for line in label["use"]["not_for"])
    assert label["validation"]["patients"] > 0 and label["validation"]["pooled"]["auroc"]["value"] is not None
    assert made.manifest.notice in (made.folder / "docs" / "README.md").read_text()


def test_the_layout_is_that_of_a_monai_bundle(made: Package) -> None:
    parser = ConfigParser()
    parser.read_meta(made.folder / METADATA)
    meta = parser["_meta_"]
    keys = ("version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors")
    assert all(isinstance(meta[key], str) for key in (*keys, "copyright"))
    images = meta["network_data_format"]["inputs"]["images"]
    assert images["num_channels"] == made.data.channels and images["spatial_shape"] == [32, 32]
    assert set(meta["network_data_format"]["outputs"]) == {"logit", "features"}


def test_a_package_without_an_appearance_is_whole(phantom_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = write_package(phantom_run, out, Wishes(emulated=False))
    assert written.appearance is None and not (out / APPEARANCE).exists()
    with pytest.raises(ConfigError, match="exists"):
        write_package(phantom_run, out, Wishes(emulated=False))


def test_a_model_of_tables_is_refused_with_a_reason(phantom_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(phantom_run, tmp_path / "run"))
    study = from_dict(json.loads((run / "study.json").read_text()))
    table = dataclasses.replace(study, model=dataclasses.replace(study.model, name="mlp"))
    (run / "study.json").write_text(json.dumps(to_dict(table)))
    with pytest.raises(ModelError, match="rows of a table"):
        write_package(run, tmp_path / "out", Wishes(emulated=True))
    assert not (tmp_path / "out").exists() and not (tmp_path / ".out.partial").exists()


def test_a_run_without_its_test_is_refused(phantom_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(phantom_run, tmp_path / "run"))
    (run / "evaluation.json").unlink()
    with pytest.raises(ConfigError, match="evaluated to its end"):
        write_package(run, tmp_path / "out", Wishes(emulated=True))


def test_what_onnx_cannot_hold_is_run_by_torch_and_said(phantom_run: Path, tmp_path: Path) -> None:
    from common.models.weights import save_model
    from common.training.study_model import study_model

    run = Path(shutil.copytree(phantom_run, tmp_path / "run"))
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    study = from_dict(json.loads((run / "study.json").read_text()))
    linear = dataclasses.replace(
        study.model, name="linearised", part="head", weights=str(checkpoint.folder), checkpoint=checkpoint.digest,
        features="last",
    )  # fmt: skip
    study = dataclasses.replace(study, model=linear)
    (run / "study.json").write_text(json.dumps(to_dict(study)))
    save_model(study_model(study, (1, 32, 32)), run / "model" / "model.safetensors", {})
    written = write_package(run, tmp_path / "out", Wishes(emulated=True))
    assert written.manifest.engine == "torch" and "no map of places" in written.manifest.engine_reason
    assert written.manifest.attention == "none" and written.head is None
    shutil.rmtree(checkpoint.folder)
    assert load_package(tmp_path / "out", NOW).golden == 0
    assert str(tmp_path) not in (tmp_path / "out" / "study.json").read_text()


def _sealed(folder: Path, package: Package) -> None:
    """Writes the manifest anew, as somebody would who can change everything but a signature."""
    files = {name: manifest.file_digest(folder / name) for name in manifest.listed(folder)}
    (folder / manifest.FILE).write_text(dataclasses.replace(package.manifest, files=files).text())
