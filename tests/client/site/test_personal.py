"""A hospital's own model of a released package: chosen on held-out patients, one linear head, never handed on."""

from __future__ import annotations

import dataclasses
import json
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from client.site.calibrating import calibrate
from client.site.packages import KeptPackages
from client.site.personal import chosen, make_personal
from common.data.loading import PatientTensors, to_tensors
from common.data.manifest import Dataset
from common.data.splits import split_by_patient
from common.errors import ConfigError, DataError, ModelError, TrustError
from common.inference.exams import find_exams
from common.inference.local import read_local
from common.inference.package import Package, load_package
from common.inference.personal import HEAD, as_head_reads, read_personal
from common.inference.predict import Predictor
from simulations.data.phantom import make_phantom
from tests.packaged import folder, made, package, phantom_run, pictures

__all__ = ["folder", "made", "package", "phantom_run", "pictures"]


@pytest.fixture(scope="module")
def patients() -> Dataset:
    return split_by_patient(make_phantom(160, 7, 96), seed=0, train_share=0.6, val_share=0.2)


@pytest.fixture
def kept(tmp_path: Path) -> KeptPackages:
    return KeptPackages(tmp_path / "site")


@pytest.fixture
def own(package: Package, patients: Dataset, kept: KeptPackages) -> Package:
    return make_personal(package, patients, "north", kept)


def seen_by(package: Package, patients: Dataset, split: str) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Returns each patient's mean logit, and her label."""
    data = to_tensors(patients.in_split(split), package.data)
    logits = torch.from_numpy(package.network(data.inputs.numpy())[0]).double()
    sums = torch.zeros(data.num_patients, dtype=torch.float64).index_add_(0, data.patient_of, logits)
    return (sums / torch.bincount(data.patient_of)).numpy(), data.patient_labels().numpy()


def test_it_is_a_package_like_any_other_and_says_whose_it_is(
    own: Package, package: Package, kept: KeptPackages
) -> None:
    assert own.digest != package.digest and kept.digests() == [own.digest]
    assert own.personal is not None and own.personal.base == package.digest and own.personal.site == "north"
    assert own.golden <= 1e-4 and own.label()["validation"]["of"] == "the released model, not of this one"
    assert "must not leave" in own.label()["personal"]["notice"]
    assert stat.S_IMODE(own.folder.stat().st_mode) == 0o700


def test_its_score_is_the_released_score_and_a_linear_function_of_the_released_features(
    own: Package, package: Package, patients: Dataset
) -> None:
    read = read_personal(own.folder)
    assert read is not None
    images = to_tensors(patients.in_split("test"), package.data).inputs.numpy()
    logits, features = package.network(images)
    rows = as_head_reads(features, normalised=package.manifest.normalised)
    expected = read[0].released * logits + rows @ read[0].weight + read[0].bias
    np.testing.assert_allclose(own.network(images)[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(own.network(images)[1], features)


def test_a_hospital_whose_patients_teach_more_ranks_others_better(
    own: Package, package: Package, patients: Dataset
) -> None:
    (mine, labels), (theirs, _) = (seen_by(one, patients, "test") for one in (own, package))
    assert roc_auc_score(labels, mine) > roc_auc_score(labels, theirs)


def test_what_a_model_knows_by_heart_does_not_compare_it(package: Package, patients: Dataset, tmp_path: Path) -> None:
    """The package is of a run without privacy: a site that trained for it compares on validation patients only."""
    elsewhere = make_personal(package, patients, "north", KeptPackages(tmp_path / "elsewhere"))
    (tmp_path / "here" / "studies").mkdir(parents=True)
    (tmp_path / "here" / "studies" / f"{package.manifest.study}.json").write_text("{}")
    here = make_personal(package, patients, "north", KeptPackages(tmp_path / "here"))
    assert elsewhere.personal is not None and here.personal is not None
    assert elsewhere.personal.compared == elsewhere.personal.patients == here.personal.patients
    assert 0 < here.personal.compared <= len(patients.in_split("val").patients())


def test_the_test_split_stays_closed(package: Package, patients: Dataset, kept: KeptPackages) -> None:
    closed = {record.image for record in patients.records if record.split == "test"}

    def read(image: str) -> NDArray[np.float32]:
        assert image not in closed
        return patients.read(image)

    make_personal(package, dataclasses.replace(patients, read=read), "north", kept)


def test_a_patient_more_or_less_in_a_class_that_is_too_small_makes_none(
    package: Package, patients: Dataset, kept: KeptPackages
) -> None:
    malignant = [one for one in patients.patients() if patients.patients()[one][0].label][9:]
    few = dataclasses.replace(
        patients, records=tuple(record for record in patients.records if record.patient not in malignant)
    )
    with pytest.raises(DataError, match="10 patients of each class"):
        make_personal(package, few, "north", kept)
    assert kept.digests() == []


def test_it_reads_exams_with_sets_of_held_out_patients(own: Package, pictures: Path) -> None:
    local = read_local(own)
    assert local is not None and local.facts.patients == len(local.facts.benign) + len(local.facts.malignant)
    exams = find_exams([pictures]).exams
    found = [Predictor(own, local).predict(exam).record for exam in exams]
    assert len(found) == 12 and all(record.model == own.digest for record in found)
    assert all(record.probability is not None and record.set is not None for record in found)


def test_no_other_site_takes_it_nor_is_it_calibrated_or_made_once_more(
    own: Package, patients: Dataset, tmp_path: Path
) -> None:
    shutil.copytree(own.folder, tmp_path / "copied", ignore=shutil.ignore_patterns("local"))
    with pytest.raises(TrustError, match="personal model of north"):
        KeptPackages(tmp_path / "other").add(tmp_path / "copied", {})
    with pytest.raises(ConfigError, match="fitted and calibrated on these patients"):
        calibrate(own, patients)
    with pytest.raises(ConfigError, match="personal one already"):
        make_personal(own, patients, "north", KeptPackages(tmp_path / "site"))


@pytest.mark.parametrize("damage", ["gone", "bytes", "facts"])
def test_a_damaged_head_is_refused(own: Package, damage: str) -> None:
    if damage == "gone":
        (own.folder / HEAD).unlink()
    elif damage == "bytes":
        (own.folder / HEAD).write_bytes(b"x" * 40)
    else:
        (own.folder / "personal.json").write_text(json.dumps({"site": "x"}))
    with pytest.raises(ModelError):
        load_package(own.folder, datetime.now(UTC))
    with pytest.raises(ModelError, match="missing or damaged"):
        read_personal(own.folder)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), width=st.integers(1, 6), signal=st.floats(0, 3), quality=st.floats(-1, 3))
def test_the_head_is_the_chosen_model_whatever_was_chosen(seed: int, width: int, signal: float, quality: float) -> None:
    drawn = np.random.default_rng(seed)
    labels = np.array([0.0, 1.0] * 20)
    features = drawn.normal(size=(40, width)) + signal * labels[:, None]
    rows = np.hstack([features, (drawn.normal(size=40) + quality * labels)[:, None]])
    data = PatientTensors(
        torch.from_numpy(rows), torch.from_numpy(labels).float(), torch.arange(40), tuple(map(str, range(40)))
    )
    found = chosen(data, "ab" * 32, "north", np.ones(40, dtype=bool))
    expected = found.model.score(data)
    got = found.head.released * rows[:, -1] + rows[:, :-1] @ found.head.weight + found.head.bias
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    assert (found.head.released == 0) == found.facts.how.startswith("ridge")
    assert found.head.released > 0 or found.facts.chosen == found.facts.home
