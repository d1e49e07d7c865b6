"""Exams leave a real PACS for the listener, and come back as reports and pictures that the PACS finds."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread

from tests.dicom_tools import errors, output
from tests.exams_as_dicom import source, write_exam
from tests.scenarios.pacs.conftest import Listening
from tests.scenarios.pacs.orthanc import Orthanc, until

RESULTS = ["OT", "PR", "SR", "US"]


def exam(picture: Path, number: int) -> Dataset:
    """Returns a phantom as an ultrasound image of its own patient."""
    pixels = np.asarray(Image.open(picture))
    one = source("US", shape=pixels.shape, PatientID=f"P{number}", AccessionNumber=f"A{number}", StudyID=str(number))
    one.PixelData = pixels.tobytes()
    return one


def test_exams_come_and_go_back_by_c_store(
    orthanc: Orthanc, listening: Listening, pictured: Callable[[int], Path], tmp_path: Path
) -> None:
    exams = [exam(pictured(number), number) for number in range(3)]
    kept = orthanc.take(write_exam(tmp_path / "scanner", exams))
    listening.start("--from", "ORTHANC", "--to", f"ORTHANC@127.0.0.1:{orthanc.dicom}", "--quiet", "0.2")
    orthanc.route(kept[:2])
    for one in exams[:2]:
        until(lambda one=one: orthanc.modalities(one.StudyInstanceUID) == RESULTS, "the return of the results")
    orthanc.route(kept)
    until(lambda: orthanc.modalities(exams[2].StudyInstanceUID) == RESULTS, "the return of the last")
    # Two of the three were read before: sending them again makes no second report.
    until(lambda: "5 kept" in listening.log() and " 0 objects wait" in listening.log().splitlines()[-1], "an end")
    assert [orthanc.modalities(one.StudyInstanceUID) for one in exams] == [RESULTS] * 3
    check_objects(orthanc, exams[0], tmp_path)
    assert listening.kill(signal.SIGTERM) == 0
    log = listening.log()
    assert not any(word in log for word in ("Test", "P0", "A0", exams[0].StudyInstanceUID, "Traceback"))


def check_objects(orthanc: Orthanc, image: Dataset, folder: Path) -> None:
    """Asserts that what the PACS gives back is valid, and that its report can be found and read by others."""
    for number, one in enumerate(orthanc.instances(image.StudyInstanceUID)):
        path = folder / f"back-{number}.dcm"
        one.save_as(path, enforce_file_format=True)
        if one.Modality != "US":
            assert errors(path) == [] and one.PatientID == image.PatientID
            assert "RESEARCH USE ONLY" in one.SeriesDescription
        if one.Modality == "SR":
            assert "Probability of cancer" in output("dsr2html", "+Ej", path) or "%" in output("dsr2html", path)
    found = output(
        "findscu", "-aec", "ORTHANC", "127.0.0.1", orthanc.dicom, "-S", "-k", "QueryRetrieveLevel=SERIES",
        "-k", f"StudyInstanceUID={image.StudyInstanceUID}", "-k", "Modality=SR", "-k", "SeriesDescription",
    )  # fmt: skip
    assert "OncoFed report - RESEARCH USE ONLY" in found


def test_a_pacs_that_is_gone_gets_the_results_later_by_stow_and_a_crash_loses_none(
    orthanc: Orthanc, listening: Listening, pictured: Callable[[int], Path], tmp_path: Path
) -> None:
    image = exam(pictured(0), 1)
    kept = orthanc.take(write_exam(tmp_path / "scanner", [image]))
    options = ("--from", "ORTHANC", "--stow", orthanc.web, "--quiet", "1")
    listening.start(*options)
    orthanc.route(kept)
    orthanc.stop()
    until(lambda: "3 objects wait" in listening.log(), "results in the outbox")
    listening.kill()
    before = [str(dcmread(path).SOPInstanceUID) for path in sorted((listening.folder / "pacs/outbox").rglob("*.dcm"))]
    orthanc.start()
    listening.start(*options)
    until(lambda: orthanc.modalities(image.StudyInstanceUID) == RESULTS, "the results after all")
    until(lambda: " 0 objects wait" in listening.log().splitlines()[-1], "an empty outbox")
    after = [str(one.SOPInstanceUID) for one in orthanc.instances(image.StudyInstanceUID) if one.Modality != "US"]
    assert sorted(before) == sorted(after) and len(after) == 3
