"""Source images as a scanner writes them, complete enough to be judged, and a result to go with them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import generate_uid

from common.inference.dicom_results import ExamResult, ImageResult
from common.inference.reasons import Reason
from common.inference.record import InferenceRecord
from tests.common.data.layouts import dicom, save

ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"


def source(modality: str, *, colour: bool = False, shape: tuple[int, int] = (300, 400), **tags: Any) -> Dataset:
    """Returns an ultrasound image or a mammogram for presentation; ``tags`` win."""
    rng = np.random.default_rng(0)
    kind = "u1" if modality == "US" else "u2"
    pixels = rng.integers(0, 255, (*shape, 3) if colour else shape).astype(kind)
    common = {
        "Modality": modality, "StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(),
        "PatientName": "Test^P", "PatientBirthDate": "19600101", "PatientSex": "F", "StudyID": "1",
        "AccessionNumber": "A1", "ReferringPhysicianName": "", "StudyDate": "20261101", "StudyTime": "100000",
        "SeriesNumber": 1, "InstanceNumber": 1, "Manufacturer": "X", "ManufacturerModelName": "Y",
        "DeviceSerialNumber": "1", "SoftwareVersions": "1", "ContentDate": "20261101", "ContentTime": "100000",
        "ImageType": ["ORIGINAL", "PRIMARY"],
    }  # fmt: skip
    own = _ULTRASOUND if modality == "US" else _MAMMOGRAM
    made = dicom(pixels, **(common | own | tags))
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    return made


_ULTRASOUND = {"SOPClassUID": ULTRASOUND, "PatientOrientation": ""}
_MAMMOGRAM = {
    "PatientOrientation": ["A", "F"], "ImageLaterality": "L", "ViewPosition": "CC", "BitsStored": 12, "HighBit": 11,
    "PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": -1, "ImagerPixelSpacing": [0.1, 0.1],
    "WindowCenter": 2048, "WindowWidth": 4096, "PresentationLUTShape": "IDENTITY", "RescaleIntercept": 0,
    "RescaleSlope": 1, "RescaleType": "US", "PresentationIntentType": "FOR PRESENTATION",
}  # fmt: skip


def result(images: int = 1, *, reasons: tuple[Reason, ...] = (), number: int = 1, **fields: Any) -> ExamResult:
    """Returns a result of so many images; with reasons it gives no answer."""
    heat = np.zeros((150, 200), np.float32)
    heat[30:60, 80:120] = 1
    read = Reason.UNREADABLE not in reasons
    record = InferenceRecord(
        record=f"{number:032x}", exam="A1", patient="P1", taken=date(2026, 11, 1), made=datetime.now(UTC),
        model="ab" * 32, state="active", inputs=("cd" * 32,) * images, modality="US", manufacturer=None, device=None,
        probability=0.373 if read else None, logit=0.1 if read else None, set=("malignant",) if read else None,
        threshold=0.12, above_threshold=True if read else None, abstained=bool(reasons), reasons=reasons,
        appearance={}, feature_distance=None, versions={"oncofed": "0.1.0"}, seconds=0.1,
    )  # fmt: skip
    shown = np.full((150, 200), 0.4, np.float32)
    one = ImageResult(shown, None if reasons else heat)
    found = {"model": "phantom", "calibrated": "site", "patients": 40, "attention": "attention map"} | fields
    return ExamResult(record=record, images=(one,) * images if read else (), **found)


def write_exam(folder: Path, images: list[Dataset]) -> list[Path]:
    """Writes the images and returns their files."""
    return [save(image, folder / f"{number}.dcm") for number, image in enumerate(images)]
