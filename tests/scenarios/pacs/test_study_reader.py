"""A study of the spool through a real package: the answer, or no answer, and never a figure of a damaged image."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from client.cli.main import app
from client.node.pacs_read import StudyReader, device_uid
from client.node.pacs_spool import Study
from client.site.packages import KeptPackages, Pointer
from client.site.predicting import InUse
from common.errors import ConfigError, TrustError
from common.inference.dicom_origin import Device, Predecessor
from common.inference.package import Package
from common.inference.reasons import Reason
from common.inference.record import records
from tests import fuzz
from tests.dicom_tools import errors
from tests.exams_as_dicom import source, write_exam

DEVICE = Device("2.25.1")


@pytest.fixture
def reader(made: Package, tmp_path: Path) -> StudyReader:
    return StudyReader(InUse(tmp_path / "none", made.folder, records=tmp_path / "records.jsonl"), DEVICE)


def study_of(folder: Path, *images: Dataset, before: Predecessor | None = None) -> Study:
    shutil.rmtree(folder, ignore_errors=True)
    files = tuple(write_exam(folder, list(images)))
    return Study("ab", files, None if before is None else dataclasses.asdict(before))


def phantom(path: Path, **tags: object) -> Dataset:
    pixels = np.asarray(Image.open(path))
    image = source("US", shape=pixels.shape, **tags)
    image.PixelData = pixels.tobytes()
    return image


def has_figure(objects: list[Dataset]) -> bool:
    return "Probability of cancer" in str(objects[0])


def test_an_exam_of_two_images_gets_one_report_that_follows_the_last(
    reader: StudyReader, pictured: Callable[[int], Path], tmp_path: Path
) -> None:
    uid = generate_uid()
    images = [phantom(pictured(number), StudyInstanceUID=uid) for number in range(2)]
    first = reader(study_of(tmp_path / "exam", *images))
    assert [one.Modality for one in first] == ["SR", "OT", "PR", "OT", "PR"] and has_figure(list(first))
    again = reader(study_of(tmp_path / "exam", *images, before=Predecessor.of(first[0])))
    assert again[0].PredecessorDocumentsSequence[0].StudyInstanceUID == uid
    kept = records(tmp_path / "records.jsonl").records
    assert [(one.exam, len(one.inputs), one.abstained) for one in kept] == [("A1", 2, False)] * 2


def test_images_that_are_no_exam_get_no_object_and_a_record_says_why(
    reader: StudyReader, pictured: Callable[[int], Path], tmp_path: Path
) -> None:
    uid = generate_uid()
    mixed = [phantom(pictured(0), StudyInstanceUID=uid, PatientID=name) for name in ("P1", "P2")]
    assert reader(study_of(tmp_path / "exam", *mixed)) == ()
    assert Reason.MIXED in records(tmp_path / "records.jsonl").records[-1].reasons
    ours = phantom(pictured(0), SOPClassUID="1.2.840.10008.5.1.4.1.1.7", SeriesDescription="x - RESEARCH USE ONLY")
    assert reader(study_of(tmp_path / "exam", ours)) == (), "our own picture, sent back to us"


def test_damaged_images_never_get_a_figure_of_what_is_not_there(
    reader: StudyReader, pictured: Callable[[int], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = phantom(pictured(0))
    (path,) = study_of(tmp_path / "exam", image).files
    whole, rng = path.read_bytes(), random.Random(7)
    cut = [whole[: len(whole) * part // 10] for part in range(1, 10)]
    for data in [*cut, *(fuzz.mutated(whole, rng, text=False) for _ in range(40))]:
        path.write_bytes(data)
        objects = list(reader(Study("ab", (path,), None)))
        if data in cut:
            assert not objects or not has_figure(objects)
        for one in objects:
            one.save_as(tmp_path / "object.dcm", enforce_file_format=True)
    assert capfd.readouterr() == ("", "")


def test_the_site_decides_with_each_exam_which_model_reads(
    made: Package, pictured: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, pointer = KeptPackages(tmp_path / "home"), Pointer(None, None)
    home.path.mkdir(parents=True)
    monkeypatch.setattr(KeptPackages, "pointer", lambda _: pointer)
    reader = StudyReader(InUse(home.home), DEVICE)
    study = study_of(tmp_path / "exam", phantom(pictured(0)))
    with pytest.raises(ConfigError, match="No model is active"):
        reader(study)
    shutil.copytree(made.folder, home.path / made.digest)
    pointer = Pointer(made.digest, None)
    assert has_figure(list(reader(study)))
    pointer = Pointer(None, None)
    with pytest.raises(ConfigError, match="No model is active"):
        reader(study)
    assert [one.state for one in records(home.records).records] == ["active"]


def test_a_package_that_expires_while_it_listens_reads_no_more(
    reader: StudyReader, made: Package, pictured: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path / "exam", phantom(pictured(0)))
    assert reader(study)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return made.manifest.expires

    monkeypatch.setattr("client.site.predicting.datetime", Later)
    with pytest.raises(TrustError, match="expired"):
        reader(study)
    assert made.manifest.expires > datetime.now(UTC)


def test_the_site_is_one_device_for_ever(tmp_path: Path) -> None:
    first = device_uid(tmp_path / "pacs")
    assert device_uid(tmp_path / "pacs") == first and first.startswith("2.25.")
    (tmp_path / "pacs" / "device.uid").write_text("nonsense")
    with pytest.raises(ConfigError, match="device"):
        device_uid(tmp_path / "pacs")


def test_predict_writes_the_results_of_dicom_exams_as_dicom(
    made: Package, pictured: Callable[[int], Path], tmp_path: Path
) -> None:
    exams, out = tmp_path / "exams", tmp_path / "out"
    exams.mkdir()
    write_exam(exams, [phantom(pictured(0))])
    shutil.copy(pictured(1), exams / "picture.png")
    words = ["predict", "--in", str(exams), "--package", str(made.folder), "--home", str(tmp_path / "none"), "--dicom"]
    assert CliRunner().invoke(app, words).exit_code == 2, "there is no folder to write into"
    done = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert done.exit_code == 0, done.output
    written = sorted(out.glob("*.dcm"))
    assert [path.stem.rpartition("-")[2] for path in written] == ["SR", "OT", "PR"]
    assert len(list(out.glob("*.json"))) == 2
    for path in written:
        assert errors(path) == []
