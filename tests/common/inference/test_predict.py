"""One exam, one result: the score of the training's own code, or no score and a reason."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom.uid import generate_uid

from common.data.loading import to_tensors
from common.data.manifest import Dataset, Record
from common.data.pixels.images import ImageFiles, read_image
from common.errors import DataError
from common.inference.conformal import ConformalSets
from common.inference.exams import Exam, find_exams
from common.inference.features import FeatureReference
from common.inference.local import Local
from common.inference.package import Appearance, Package
from common.inference.picture import draw_picture, verdict
from common.inference.predict import Prediction, Predictor, pooled
from common.inference.reasons import Reason
from common.models.weights import load_weights
from common.training.loop import predict
from common.training.study_model import study_model
from simulations.engine.reopened import reopen
from tests import fuzz
from tests.common.data.layouts import dicom, save


def exam_of(*files: Path) -> Exam:
    return dataclasses.replace(find_exams(files).exams[0], files=files, headers=(None,) * len(files))


def one(package: Package, *places: Path, **changes: Any) -> Prediction:
    (exam,) = find_exams(places).exams
    return Predictor(dataclasses.replace(package, **changes)).predict(exam)


@pytest.fixture
def ultrasound(tmp_path: Path, pictures: Path) -> Path:
    """A phantom as a DICOM file."""
    pixels = np.asarray(Image.open(sorted(pictures.rglob("*.png"))[0]))
    tags = {"Modality": "US", "StudyInstanceUID": generate_uid(), "AccessionNumber": "A1", "PatientID": "P1"}
    return save(dicom(pixels, **tags), tmp_path / "us.dcm")


def test_the_score_is_the_one_of_the_training_code(package: Package, pictures: Path, phantom_run: Path) -> None:
    files = sorted(pictures.rglob("*.png"))
    records = tuple(
        Record(image=str(path.relative_to(pictures)), patient=path.parent.name, label=int(path.parent.name) % 2)
        for path in files
    )
    run = reopen(phantom_run)
    model = study_model(run.study, (1, 32, 32))
    load_weights(model, phantom_run / "model" / "model.safetensors")
    tensors = to_tensors(Dataset("pictures", records, ImageFiles(pictures)), run.study.data)
    expected = dict(zip(tensors.patients, predict(model, tensors).tolist(), strict=True))
    predictor = Predictor(package)
    for exam in find_exams([pictures]).exams:
        found = predictor.predict(exam)
        assert np.mean(found.scores) == pytest.approx(expected[exam.key], abs=1e-5)
        assert found.record.probability == pytest.approx(package.calibration.probability(float(np.mean(found.scores))))
        assert found.record.above_threshold == (np.mean(found.scores) >= package.threshold_as_scored)


def test_one_unreadable_image_takes_the_score_from_the_whole_exam(package: Package, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number in range(3):
        Image.fromarray(rng.integers(0, 99, (60, 50), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:300])
    found = Predictor(package).predict(exam_of(*sorted(tmp_path.glob("*.png"))))
    assert found.record.reasons == (Reason.UNREADABLE,)
    assert found.record.probability is None and not found.scores and not found.images
    assert len(found.record.inputs) == 3


def test_marks_are_a_reason_unless_the_training_images_had_them(
    package: Package, pictures: Path, tmp_path: Path
) -> None:
    image = Image.open(sorted(pictures.rglob("*.png"))[0]).resize((300, 300))
    ImageDraw.Draw(image).text((20, 20), "BREAST L 12:00", fill=255)
    image.save(tmp_path / "text.png")
    strict = dataclasses.replace(package.expects, marked_share=None)
    usual = dataclasses.replace(package.expects, marked_share=0.8)
    assert Reason.BURNED_IN_TEXT in one(package, tmp_path / "text.png", expects=strict).record.reasons
    found = one(package, tmp_path / "text.png", expects=usual, appearance=None)
    assert not found.record.abstained and any("80% of the training images" in line for line in found.told)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Modality": "MG"}, Reason.WRONG_MODALITY),
        ({"Modality": ""}, Reason.WRONG_MODALITY),
        ({"PresentationIntentType": "FOR PROCESSING"}, Reason.WRONG_VIEW),
        ({"BurnedInAnnotation": "YES"}, Reason.BURNED_IN_TEXT),
    ],
)
def test_what_the_header_says_against_an_exam(
    package: Package, ultrasound: Path, tags: dict[str, str], reason: Reason
) -> None:
    from pydicom import dcmread

    assert one(package, ultrasound).record.reasons == ()
    image = dcmread(ultrasound)
    for name, value in tags.items():
        setattr(image, name, value)
    image.save_as(ultrasound)
    assert reason in one(package, ultrasound).record.reasons


def test_a_view_of_another_kind_and_two_patients_in_one_exam(
    package: Package, ultrasound: Path, tmp_path: Path
) -> None:
    from pydicom import dcmread

    image = dcmread(ultrasound)
    image.ViewPosition = "XCCL"
    image.save_as(ultrasound)
    mammograms = dataclasses.replace(package.expects, views=("CC", "MLO"))
    assert one(package, ultrasound, expects=mammograms).record.reasons == (Reason.WRONG_VIEW,)
    image.PatientID = "P2"
    image.save_as(tmp_path / "other.dcm")
    assert Reason.MIXED in one(package, ultrasound, tmp_path / "other.dcm").record.reasons


def test_a_blank_image_and_one_that_looks_otherwise(package: Package, pictures: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 90, np.uint8)).save(tmp_path / "flat.png")
    assert Reason.BLANK in one(package, tmp_path / "flat.png").record.reasons
    some = sorted(pictures.rglob("*.png"))[0]
    found = one(package, some).record.appearance
    far = Appearance({"contrast": (found["contrast"] + 1.0, 0.1)}, 4.0)
    near = Appearance({"contrast": (found["contrast"] + 0.3, 0.1)}, 4.0)
    assert one(package, some, appearance=far).record.reasons == (Reason.UNLIKE_TRAINING,)
    assert one(package, some, appearance=near).record.reasons == ()


def test_a_calibrated_site_gets_sets_and_distances(package: Package, pictures: Path) -> None:
    exam = find_exams([pictures]).exams[0]
    plain = Predictor(package).predict(exam)
    assert plain.record.set is None and "has not calibrated" in plain.told[0]
    score = plain.record.logit or 0.0
    features = np.stack([pooled(package.network(image.given[None])[1])[0] for image in plain.images]).mean(0)
    rows = features + np.random.default_rng(1).normal(0, 1e-4, (30, len(features))).astype(np.float32)

    def record(benign: float, malignant: float, away: float) -> Any:
        facts: Any = None
        sets = ConformalSets.of([benign] * 20 + [malignant] * 20, [0] * 20 + [1] * 20)
        reference = FeatureReference.of(rows + away * np.arange(len(features), dtype=np.float32) ** 2)
        local = Local(facts, package.calibration, sets, reference)
        return Predictor(package, local, "active").predict(exam).record

    sure = record(score - 1, score - 1, 0)
    assert sure.set == ("malignant",) and not sure.abstained and sure.state == "active"
    assert record(score, score, 0).reasons == (Reason.AMBIGUOUS,)
    assert record(score - 1, score + 1, 0).reasons == (Reason.ATYPICAL,)
    assert record(score - 1, score - 1, 9.0).reasons == (Reason.FEATURES_FAR,)


def test_a_picture_shows_research_use_and_no_word_of_the_exam(package: Package, pictures: Path) -> None:
    exam = find_exams([pictures]).exams[0]
    found = Predictor(package).predict(exam)
    drawn = draw_picture(found, 0, package)
    assert drawn is not None
    plain = found.images[0].shown
    assert drawn.width == 2 * round(512 * plain.shape[1] / max(plain.shape)) and drawn.height > 512
    assert draw_picture(found, 0, dataclasses.replace(package, head=None)) is not None
    blind = Predictor(dataclasses.replace(package, head=None)).predict(exam)
    assert draw_picture(blind, 0, package) is None
    assert verdict({"method": "none", "reason": "no places"}) == "there is no map: no places"
    assert verdict(package.attention) in ("it depends on the weights", "whether it follows the model is unclear")


@pytest.mark.parametrize("name", ["PNG", "TIFF", "PGM", "DICOM"])
def test_a_mutated_image_is_scored_only_where_the_reader_read_it_whole(
    package: Package, tmp_path: Path, name: str
) -> None:
    target = next(target for target in fuzz.targets(tmp_path) if target.name == name)
    predictor, rng = Predictor(package), random.Random(7)
    whole = {path: path.read_bytes() for path in target.files}
    refused = 0
    for _ in range(60):
        path = rng.choice(target.files)
        path.write_bytes(fuzz.mutated(whole[path], rng, text=False))
        refused += not _answered(predictor, path)
        path.write_bytes(whole[path])
    assert refused


def _answered(predictor: Predictor, path: Path) -> bool:
    """Returns whether there was a score; holds it to what the reader says of the same bytes."""
    try:
        exams = find_exams([path]).exams
    except DataError:
        return False
    (record,) = [predictor.predict(exam).record for exam in exams]
    try:
        read_image(path)
    except DataError:
        assert record.probability is None and record.reasons == (Reason.UNREADABLE,)
    return record.probability is not None


def test_a_value_that_the_standard_forbids_is_read_and_named_nowhere(
    package: Package, ultrasound: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import warnings

    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = dcmread(ultrasound)
        image.PatientID, image.SOPInstanceUID = "Doe^Jane " * 12, "1.2.Doe"
        image.save_as(ultrasound)
    # Warnings are errors in these tests: one on the way would make the tags unreadable.
    found = one(package, ultrasound).record
    assert found.reasons == () and found.patient.startswith("Doe^Jane")
    assert "Doe" not in "".join(capfd.readouterr())
