"""Results as DICOM objects: judged by dciodvfy, read by DCMTK, and silent where the model is."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from common.errors import DataError
from common.inference.dicom_marks import box
from common.inference.dicom_origin import Device, Predecessor, complete, sources
from common.inference.dicom_picture import lines
from common.inference.dicom_results import ExamResult, ImageResult, dicom_results, result_of
from common.inference.exams import find_exams
from common.inference.package import Package
from common.inference.predict import Predictor
from common.inference.reasons import Reason
from tests.dicom_tools import errors, output
from tests.exams_as_dicom import result, source, write_exam

DEVICE = Device("2.25.1234")
REAL = Path(__file__).parents[4] / "shared" / "data" / "cbis-ddsm-quarter"


def made(images: list[Dataset], found: ExamResult, **options: Any) -> list[Dataset]:
    return dicom_results(images, found, DEVICE, **options)


def saved(objects: list[Dataset], folder: Path) -> Iterator[Path]:
    for number, one in enumerate(objects):
        path = folder / f"{number}-{one.Modality}.dcm"
        one.save_as(path, enforce_file_format=True)
        yield path


def values(report: Dataset, name: str) -> list[Any]:
    """Returns the values of all content items of that name, at any depth."""
    found: list[Any] = []
    for item in report.get("ContentSequence", ()):
        if "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeMeaning == name:
            kinds = {"NUM": lambda item: float(item.MeasuredValueSequence[0].NumericValue),
                     "CODE": lambda item: item.ConceptCodeSequence[0].CodeMeaning,
                     "TEXT": lambda item: item.TextValue, "UIDREF": lambda item: item.UID}  # fmt: skip
            found += [kinds[item.ValueType](item)] if item.ValueType in kinds else []
        found += values(item, name)
    return found


def pictures(*kinds: dict[str, Any]) -> list[Dataset]:
    """Returns images of one study."""
    study = generate_uid()
    return [source(**({"StudyInstanceUID": study} | kind)) for kind in kinds]


EXAMS = {
    "ultrasound": pictures({"modality": "US"}),
    "colour": pictures({"modality": "US", "colour": True}),
    "mammograms": pictures({"modality": "MG"}, {"modality": "MG", "ImageLaterality": "R"}),
}


@pytest.mark.parametrize("kind", EXAMS)
@pytest.mark.parametrize("reasons", [(), (Reason.UNLIKE_TRAINING, Reason.BLANK), (Reason.UNREADABLE,)])
def test_every_object_is_valid_and_of_the_study(kind: str, reasons: tuple[Reason, ...], tmp_path: Path) -> None:
    images = EXAMS[kind]
    before = Predecessor.of(made(images, result(len(images), number=7))[0])
    objects = made(images, result(len(images), reasons=reasons), before=before, segment=True)
    for one, path in zip(objects, saved(objects, tmp_path), strict=True):
        assert errors(path) == []
        assert (one.StudyInstanceUID, one.PatientID) == (images[0].StudyInstanceUID, images[0].PatientID)
        assert one.SeriesInstanceUID not in {image.SeriesInstanceUID for image in images}
        assert "RESEARCH USE ONLY" in one.SeriesDescription
    assert len({one.SOPInstanceUID for one in objects}) == len(objects)
    wanted = {"SR"} if Reason.UNREADABLE in reasons else {"SR", "OT", "PR"} if reasons else {"SR", "OT", "PR", "SEG"}
    assert {one.Modality for one in objects} == wanted


@pytest.mark.parametrize("path", sorted(REAL.rglob("*.dcm")), ids=lambda path: path.parents[2].name)
def test_the_objects_of_real_mammograms_are_valid(path: Path, tmp_path: Path) -> None:
    objects = made([dcmread(path)], result(), segment=True)
    assert [errors(one) for one in saved(objects, tmp_path)] == [[]] * len(objects)


def test_the_report_says_the_answer_the_model_and_the_images(tmp_path: Path) -> None:
    images = EXAMS["mammograms"]
    first, *_ = made(images, result(2, told=("text is drawn into an image",)))
    (path,) = saved([first], tmp_path)
    report = dcmread(path)
    assert values(report, "Probability of cancer") == [37.3]
    assert values(report, "Triage group") == ["Above the threshold"]
    assert values(report, "Prediction set") == ["Malignant"]
    assert f"package sha256 {'ab' * 32}" in values(report, "Algorithm Parameters")
    assert values(report, "Device Observer UID") == [DEVICE.uid]
    assert (report.VerificationFlag, report.CompletionFlag) == ("UNVERIFIED", "COMPLETE")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {one.ReferencedSOPInstanceUID for series in evidence for one in series.ReferencedSOPSequence}
    assert named == {image.SOPInstanceUID for image in images}
    html = output("dsr2html", path)
    assert "37.3 %" in html and "Text is drawn into an image." in html and "UNVERIFIED" in html
    assert "RESEARCH USE ONLY" in output("dcmdump", path)


def test_without_an_answer_no_object_carries_a_figure(tmp_path: Path) -> None:
    reasons = (Reason.BURNED_IN_TEXT, Reason.AMBIGUOUS)
    objects = made(EXAMS["ultrasound"], result(reasons=reasons), segment=True)
    report = objects[0]
    assert values(report, "Probability of cancer") == values(report, "Prediction set") == []
    assert values(report, "Triage group") == ["No answer"]
    assert values(report, "Reason for no answer") == [str(reason) for reason in reasons]
    assert sum("No answer:" in line for line in values(report, "Comment")) == 2
    for path in saved([one for one in objects if one.Modality != "OT"], tmp_path):
        assert "37.3" not in output("dcmdump", "+L", path)
    (marks,) = (one for one in objects if one.Modality == "PR")
    assert "GraphicObjectSequence" not in marks.GraphicAnnotationSequence[0]


def test_a_second_report_names_the_first_and_the_same_record_gives_the_same_objects() -> None:
    images = EXAMS["ultrasound"]
    first, again = (made(images, result()) for _ in range(2))
    assert [one.SOPInstanceUID for one in first] == [one.SOPInstanceUID for one in again]
    later = made(images, result(number=2), before=Predecessor.of(first[0]))
    assert not {one.SOPInstanceUID for one in first} & {one.SOPInstanceUID for one in later}
    named = later[0].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == first[0].SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in first[0]


def test_the_picture_says_that_letters_are_in_it_and_shows_both_images() -> None:
    capture = made(EXAMS["ultrasound"], result())[1]
    assert capture.BurnedInAnnotation == "YES"
    pixels = capture.pixel_array
    assert tuple(pixels[0, 0]) == (255, 214, 0), "the banner"
    height, width = pixels.shape[:2]
    inside = pixels[34 : 34 + 576, : width // 2].reshape(-1, 3)
    assert np.ptp(inside, axis=0).max() == 0, "the left picture is the plain image"
    assert np.ptp(pixels[34 : 34 + 576, width // 2 :].reshape(-1, 3), axis=0).min() > 10
    blank = made(EXAMS["ultrasound"], result(reasons=(Reason.BLANK,)))[1]
    assert blank.Columns * 2 == width and blank.Rows == height


def test_a_blank_map_is_said_and_no_second_picture_shown() -> None:
    found = result()
    blank = dataclasses.replace(found, images=(ImageResult(found.images[0].shown, np.zeros((150, 200), np.float32)),))
    said = " ".join(lines(blank, 0))
    assert "map is blank" in said and "Right:" not in said and "map is blank" not in " ".join(lines(found, 0))
    assert made(EXAMS["ultrasound"], blank)[1].Columns * 2 == made(EXAMS["ultrasound"], found)[1].Columns


@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    heat=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_the_box_lies_in_the_image_around_the_strongest_pixel(
    size: tuple[int, int], heat: tuple[int, int], seed: int
) -> None:
    values = np.random.default_rng(seed).random(heat).astype(np.float32)
    found = box(values, size)
    assert found is not None
    left, top, right, bottom = found
    assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]
    row, column = np.unravel_index(int(values.argmax()), heat)
    assert left <= (column + 0.5) * size[1] / heat[1] <= right
    assert top <= (row + 0.5) * size[0] / heat[0] <= bottom
    assert box(np.zeros(heat, np.float32), size) is None


TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\\=^"), max_size=80)
TAGS = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
        "AccessionNumber", "ReferringPhysicianName", "PatientOrientation", "ImageLaterality", "Laterality",
        "Manufacturer", "DeviceSerialNumber", "SoftwareVersions", "InstitutionName", "ContentDate")  # fmt: skip


@given(tags=st.dictionaries(st.sampled_from(TAGS), TEXT), missing=st.sets(st.sampled_from(TAGS)))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning", "ignore:The value length:UserWarning")
def test_odd_tags_of_the_source_give_objects_all_the_same(
    tags: dict[str, str], missing: set[str], capfd: pytest.CaptureFixture[str]
) -> None:
    image = source("US", SpecificCharacterSet="ISO_IR 192")
    for name in missing:
        if name in image:
            delattr(image, name)
    for name, value in tags.items():
        setattr(image, name, value)
    capfd.readouterr()
    objects = made([image], result())
    for one in objects:
        one.save_as(io.BytesIO(), enforce_file_format=True)
    assert [one.Modality for one in objects] == ["SR", "OT", "PR"]
    assert capfd.readouterr() == ("", ""), "what the libraries say of a name is not printed"


@pytest.mark.parametrize(
    ("charset", "name"),
    [("ISO_IR 192", "Müller^Zoë"), ("ISO_IR 100", "Müller^Jörg"), (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎")],
)
def test_names_keep_their_letters(charset: Any, name: str, tmp_path: Path) -> None:
    (path,) = write_exam(tmp_path, [source("US", SpecificCharacterSet=charset, PatientName=name)])
    objects = made(list(sources([path])), result())
    assert {str(dcmread(one).PatientName) for one in saved(objects, tmp_path)} == {name}


def test_images_of_two_studies_or_patients_are_refused() -> None:
    with pytest.raises(DataError, match="one study"):
        made([source("US"), source("US")], result(2))
    with pytest.raises(DataError, match="one study"):
        made(pictures({"modality": "US"}, {"modality": "US", "PatientID": "P2"}), result(2))
    with pytest.raises(DataError, match="one study"):
        made([], result(0))


def test_a_source_without_uids_is_left_out_and_nothing_is_invented(tmp_path: Path) -> None:
    image = source("US")
    del image.PatientName, image.StudyID
    bare = source("US", StudyInstanceUID="")
    found = sources([*write_exam(tmp_path, [image, bare]), Path(__file__)])
    assert len(found) == 1 and found[0].PatientName == "" and found[0].StudyID == ""
    assert "PatientName" not in image and complete(image) is not image


def test_a_prediction_becomes_objects_of_its_images(package: Package, pictures: Path, tmp_path: Path) -> None:
    pixels = np.asarray(Image.open(sorted(pictures.rglob("*.png"))[0]))
    image = source("US", shape=pixels.shape)
    image.PixelData = pixels.tobytes()
    write_exam(tmp_path / "exam", [image])
    (exam,) = find_exams([tmp_path / "exam"]).exams
    found = result_of(Predictor(package).predict(exam), package)
    objects = dicom_results(sources(exam.files), found, DEVICE, segment=True)
    assert [errors(one) for one in saved(objects, tmp_path)] == [[]] * len(objects)
    assert values(objects[0], "Probability of cancer") == [
        pytest.approx(100 * (found.record.probability or 0), abs=1e-3)
    ]
    assert isinstance(found.images[0], ImageResult) and found.images[0].heat is not None
    attention = objects[-1].pixel_array.astype(float) / 255
    assert attention.shape == pixels.shape and np.abs(attention - found.images[0].heat).max() < 0.05
    assert find_exams([tmp_path]).exams[0].files == exam.files, "what it wrote is no exam to it"
