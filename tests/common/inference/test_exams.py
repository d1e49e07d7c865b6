"""Which files are one exam: by study, by folder, or each by itself; what is no image is left out and counted."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import generate_uid

from common.errors import DataError
from common.inference.exams import find_exams
from tests.common.data.layouts import dicom, film, picture, save

SR = "1.2.840.10008.5.1.4.1.1.88.33"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def a_file(path: Path, study: str, **tags: Any) -> Path:
    return save(dicom(film(1, shape=(16, 12)), StudyInstanceUID=study, **tags), path)


def test_dicom_files_of_a_study_are_one_exam_wherever_they_lie(tmp_path: Path) -> None:
    one, two = generate_uid(), generate_uid()
    a_file(tmp_path / "a" / "1.dcm", one, AccessionNumber="A7", StudyDate="20260102", PatientID="P7")
    a_file(tmp_path / "b" / "IM0002", one, AccessionNumber="A7", PatientID="P7")
    a_file(tmp_path / "a" / "3.dcm", two, Manufacturer="GE")
    found = find_exams([tmp_path])
    exams = {exam.key: exam for exam in found.exams}
    assert set(exams) == {"A7", str(two)} and found.left_out == 0
    assert [path.name for path in exams["A7"].files] == ["1.dcm", "IM0002"]
    assert (exams["A7"].patient, exams["A7"].taken, exams["A7"].study) == ("P7", date(2026, 1, 2), str(one))
    assert exams[str(two)].tag("manufacturer") == "GE"


def test_two_studies_of_one_accession_number_are_two_exams_of_two_keys(tmp_path: Path) -> None:
    for name in ("a", "b"):
        a_file(tmp_path / f"{name}.dcm", generate_uid(), AccessionNumber="A7")
    assert len({exam.key for exam in find_exams([tmp_path]).exams}) == 2


def test_pictures_in_a_folder_are_one_exam_and_loose_ones_are_each(tmp_path: Path) -> None:
    for name in ("x.png", "y.tif", "ann/1.png", "ann/2.jpg", "eve/1.png"):
        picture(tmp_path / name, 1, (8, 8))
    (tmp_path / "ann" / "notes.txt").write_text("x")
    (tmp_path / "labels.csv").write_text("x")
    found = find_exams([tmp_path])
    assert {exam.key: len(exam.files) for exam in found.exams} == {"x": 1, "y": 1, "ann": 2, "eve": 1}
    assert found.left_out == 2
    named = find_exams([tmp_path / "ann" / "1.png", tmp_path / "ann" / "2.jpg", tmp_path / "ann" / "1.png"])
    assert [len(exam.files) for exam in named.exams] == [1, 1]


def test_reports_and_our_own_pictures_beside_images_are_left_out_and_others_are_not(tmp_path: Path) -> None:
    study = generate_uid()
    a_file(tmp_path / "1.dcm", study)
    a_file(tmp_path / "2.dcm", study, SOPClassUID=SR, Modality="SR")
    a_file(tmp_path / "3.dcm", study, SOPClassUID=CAPTURE, SeriesDescription="Research use only: overlay")
    a_file(tmp_path / "4.dcm", study, SOPClassUID=CAPTURE, SeriesDescription="Screen")
    found = find_exams([tmp_path])
    (exam,) = found.exams
    assert [path.name for path in exam.files] == ["1.dcm", "4.dcm"] and found.left_out == 2


@pytest.mark.parametrize("name", ["1.dcm", "IM0001", "1.2.840.7"])
def test_a_damaged_dicom_file_stays_an_exam_by_itself(tmp_path: Path, name: str) -> None:
    path = a_file(tmp_path / name, generate_uid())
    path.write_bytes(bytes(np.random.default_rng(1).integers(0, 256, 700, dtype=np.uint8)))
    (exam,) = find_exams([tmp_path]).exams
    assert exam.files == (path,) and exam.study == ""


def test_no_image_is_an_error_that_counts_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("x")
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DataError, match=r"no image in .* \(2 other files\)"):
        find_exams([tmp_path])
    with pytest.raises(DataError, match="There is no"):
        find_exams([tmp_path / "nowhere"])
