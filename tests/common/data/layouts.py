"""Small files in the published layouts, for data sets that cannot be had here."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MAMMOGRAM = "1.2.840.10008.5.1.4.1.1.1.2"


def film(seed: int, *, side: str = "left", bright: bool = False, shape: tuple[int, int] = (96, 72)) -> NDArray[Any]:
    """Returns uint16 (H, W): half an ellipse on black, at the left edge for a left breast; with a bright spot or none."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside = ((rows - shape[0] / 2) / (0.35 * shape[0])) ** 2 + (columns / (0.6 * shape[1])) ** 2 <= 1
    values = np.where(inside, rng.integers(18_000, 26_000, shape), rng.integers(0, 600, shape))
    if bright:
        spot = (rows - 0.5 * shape[0]) ** 2 + (columns - 0.25 * shape[1]) ** 2 <= (0.12 * shape[0]) ** 2
        values = np.where(spot, 52_000, values)
    values = values.astype(np.uint16)
    return values if side == "left" else values[:, ::-1]


def dicom(pixels: NDArray[Any], **tags: Any) -> Dataset:
    """Returns an uncompressed mammogram with these pixels, uint8 or uint16 (H, W) or (H, W, 3); ``tags`` win."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = MAMMOGRAM
    image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.SOPClassUID, image.SOPInstanceUID = MAMMOGRAM, image.file_meta.MediaStorageSOPInstanceUID
    image.Modality, image.PatientID = "MG", "P1"
    image.Rows, image.Columns = pixels.shape[:2]
    image.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    image.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        image.PlanarConfiguration = 0
    image.BitsAllocated = image.BitsStored = 8 * pixels.dtype.itemsize
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    image.PixelData = np.ascontiguousarray(pixels).tobytes()
    for name, value in tags.items():
        setattr(image, name, value)
    return image


def save(image: Dataset, path: Path) -> Path:
    """Writes the file with DICOM's preamble and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path


def table(path: Path, rows: Sequence[Sequence[object]], *, delimiter: str = ",") -> Path:
    """Writes a CSV, header first, and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def picture(path: Path, seed: int, shape: tuple[int, ...]) -> Path:
    """Writes uint8 noise in the format of the path's suffix and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


CBIS_HEADER = (
    "patient_id", "breast_density", "left or right breast", "image view", "abnormality id", "abnormality type",
    "mass shape", "mass margins", "assessment", "pathology", "subtlety", "image file path", "cropped image file path",
    "ROI mask file path",
)  # fmt: skip


def cbis_row(patient: str, side: str, view: str, lesion: int, pathology: str) -> list[object]:
    """Returns a row of TCIA's mass table; its paths are as stale as the published ones."""
    name = f"Mass-Training_{patient}_{side}_{view}/1.3.6/2.5/000000.dcm"
    return [patient, 2, side, view, lesion, "mass", "OVAL", "ILL_DEFINED", 4, pathology, 3, name, name, f"{name}\n"]


def cbis(root: Path, patients: int, shape: tuple[int, int] = (96, 72)) -> Path:
    """Writes CBIS-DDSM: of ``patients`` women every second has a malignant (bright) mass, two views each."""
    rows: list[Sequence[object]] = [CBIS_HEADER]
    for number in range(patients):
        malignant, side = bool(number % 2), ("LEFT", "RIGHT")[number // 2 % 2]
        for view in ("CC", "MLO"):
            patient = f"P_{number:05d}"
            name = f"Mass-Training_{patient}_{side}_{view}"
            pixels = film(2 * number + (view == "CC"), side=side.lower(), bright=malignant, shape=shape)
            image = dicom(pixels, PatientID=name, Laterality=side[0], PatientOrientation=view)
            save(image, root / "CBIS-DDSM" / name / "07-20-2016-DDSM" / "1.000000-full mammogram images" / "1-1.dcm")
            rows.append(cbis_row(patient, side, view, 1, "MALIGNANT" if malignant else "BENIGN_WITHOUT_CALLBACK"))
    table(root / "mass_case_description_train_set.csv", rows)
    return root
