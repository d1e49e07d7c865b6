"""Nothing planted anywhere in a file is left in the copy, which is still the same picture of the same patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from typer.testing import CliRunner

from client.cli.main import app
from common.data.checks.dicom_tags import check_dicom_tags
from common.data.intake.deidentify import WITHOUT_PATIENT, deidentify_folder
from common.data.pixels.images import read_image
from common.errors import DataError

KEY = bytes(range(32))
SECRETS = (
    "Roe", "19610203", "North Hospital", "Prof Doe", "ACC-77", "hidden", "Elm Street", "0151-555", "Note on Jane",
    "SN-4711", "MRN-9", "deep secret", "20260102",
)  # fmt: skip


def image(folder: Path, name: str, patient: str = "MRN-9") -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, "1.2.840.10008.5.1.4.1.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file: Any = FileDataset(name, {}, file_meta=meta, preamble=b"hidden".ljust(128, b"\0"))
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.StudyInstanceUID, file.SeriesInstanceUID = "1.2.3.4", "1.2.3.4.5"
    file.PatientName, file.PatientID, file.PatientBirthDate = "Roe^Jane", patient, "19610203"
    file.InstitutionName, file.InstitutionAddress = "North Hospital", "Elm Street 1"
    file.ReferringPhysicianName, file.AccessionNumber = "Prof Doe", "ACC-77"
    file.PatientTelephoneNumbers, file.ImageComments = "0151-555", "Note on Jane"
    file.DeviceSerialNumber, file.StudyDate, file.Modality = "SN-4711", "20260102", "MG"
    inner = Dataset()
    inner.PatientName, inner.InstitutionName = "Roe^Jane", "North Hospital"
    deeper = Dataset()
    deeper.OperatorsName, deeper.PersonAddress = "Prof Doe", "Elm Street 1"
    inner.PersonIdentificationCodeSequence = Sequence([deeper])
    file.ViewCodeSequence = Sequence([inner])
    file.private_block(0x0011, "ACME", create=True).add_new(1, "LO", "deep secret")
    inner.private_block(0x0013, "ACME", create=True).add_new(1, "LO", "deep secret")
    file.Rows, file.Columns, file.BitsAllocated, file.BitsStored, file.HighBit = 8, 6, 8, 8, 7
    file.SamplesPerPixel, file.PixelRepresentation, file.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    file.PixelData = np.arange(48, dtype=np.uint8).tobytes()
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, file)
    return path


def test_nothing_that_was_planted_is_left(tmp_path: Path) -> None:
    source = image(tmp_path / "in", "Roe Jane/left.dcm")
    before = source.read_bytes()
    assert all(secret.encode() in before for secret in SECRETS)
    assert deidentify_folder(tmp_path / "in", tmp_path / "out", KEY) == {"cleaned": 1}
    (copy,) = (tmp_path / "out").rglob("*.dcm")
    after = copy.read_bytes()
    assert [secret for secret in SECRETS if secret.encode() in after] == []
    assert b"1.2.3.4" not in after and "Roe" not in str(copy.relative_to(tmp_path))
    assert source.read_bytes() == before
    assert check_dicom_tags([copy]) == [] and len(check_dicom_tags([source])) > 8


def test_the_copy_is_the_same_picture_and_says_what_was_done(tmp_path: Path) -> None:
    source = image(tmp_path / "in", "a.dcm")
    deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    (copy,) = (tmp_path / "out").rglob("*.dcm")
    assert np.array_equal(read_image(copy), read_image(source))
    header = pydicom.dcmread(copy)
    assert header.PatientIdentityRemoved == "YES" and "PS3.15" in header.DeidentificationMethod
    assert [code.CodeValue for code in header.DeidentificationMethodCodeSequence] == ["113100"]
    assert header.file_meta.MediaStorageSOPInstanceUID == header.SOPInstanceUID


def test_a_patient_keeps_one_pseudonym_and_a_series_one_uid(tmp_path: Path) -> None:
    for name, who in (("1.dcm", "A"), ("2.dcm", "A"), ("3.dcm", "B")):
        image(tmp_path / "in", name, who)
    deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    deidentify_folder(tmp_path / "in", tmp_path / "other", bytes(32))
    headers = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").rglob("*.dcm"), key=lambda path: path.name)]
    assert headers[0].PatientID == headers[1].PatientID != headers[2].PatientID
    assert len({header.SeriesInstanceUID for header in headers}) == 1
    assert len({header.SOPInstanceUID for header in headers}) == 3
    others = {path.parent.name for path in (tmp_path / "other").rglob("*.dcm")}
    assert not others & {header.PatientID for header in headers}


def test_what_is_no_dicom_or_damaged_has_no_copy(tmp_path: Path) -> None:
    path = image(tmp_path / "in", "a.dcm")
    (tmp_path / "in" / "notes.txt").write_text("Roe")
    (tmp_path / "in" / "cut.dcm").write_bytes(path.read_bytes()[:200])
    counts = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    assert counts["cleaned"] == 1 and counts["not DICOM"] == 1 and counts.get("unreadable", 0) <= 1
    assert not any(b"Roe" in copy.read_bytes() for copy in (tmp_path / "out").rglob("*") if copy.is_file())


def test_a_target_that_would_mix_with_the_source_is_refused(tmp_path: Path) -> None:
    image(tmp_path / "in", "a.dcm")
    for target in (tmp_path / "in" / "out", tmp_path / "in"):
        with pytest.raises(DataError, match="exists or lies within"):
            deidentify_folder(tmp_path / "in", target, KEY)
    with pytest.raises(DataError, match="no folder"):
        deidentify_folder(tmp_path / "none", tmp_path / "out", KEY)


def test_the_command_and_the_real_files(tmp_path: Path, real_data: Path) -> None:
    out, key = tmp_path / "out", tmp_path / "pseudonyms.key"
    words = ["data", "deidentify", str(real_data / "cbis-ddsm" / "CBIS-DDSM"), str(out), "--key", str(key)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    copies = list(out.rglob("*.dcm"))
    assert copies and key.stat().st_mode & 0o777 == 0o600
    assert check_dicom_tags(copies) == []
    assert read_image(copies[0]).ndim == 2


def test_files_of_nobody_do_not_become_one_patient(tmp_path: Path) -> None:
    for number, patient in enumerate(("MRN-1", "", "ANON", " ")):
        path = image(tmp_path / "in", f"{number}.dcm", patient)
        file = pydicom.dcmread(path)
        file.PatientName = ""
        file.save_as(path)
    assert deidentify_folder(tmp_path / "in", tmp_path / "out", KEY) == {"cleaned": 1, WITHOUT_PATIENT: 3}
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 1
