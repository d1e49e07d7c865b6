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
    """Returns uint16 (H, W): half an ellipse on black, at the left for a left breast, with or without a bright spot."""
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


def cbis_jpeg(root: Path, patients: int) -> Path:
    """Writes CBIS-DDSM as it lies on Kaggle: a film, a crop and a mask as JPEG each; every second is malignant."""
    rows: list[Sequence[object]] = [CBIS_HEADER]
    info: list[Sequence[object]] = [("file_path", "image_path", "PatientID", "SeriesDescription")]
    for number in range(patients):
        patient, uid = f"P_{number:05d}", f"1.3.6.1.4.1.9590.100.1.2.{100 + number}"
        name = f"Mass-Training_{patient}_LEFT_CC"
        row = cbis_row(patient, "LEFT", "CC", 1, "MALIGNANT" if number % 2 else "BENIGN")
        row[11] = f"{name}/1.3.6.1/{uid}/000000.dcm"
        rows.append(row)
        mask = np.zeros((96, 72), dtype=np.uint8)
        mask[40:60, 10:30] = 255
        pixels = (film(number, bright=bool(number % 2)) >> 8).astype(np.uint8)
        for series, file, picture, owner in (
            (uid, "1-1.jpg", pixels, name), (f"{uid}8", "1-1.jpg", pixels[40:60, 10:30], f"{name}_1"),
            (f"{uid}8", "2-1.jpg", mask, f"{name}_1"),
        ):  # fmt: skip
            place = root / "jpeg" / series / file
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place, quality=95)
            info.append((f"CBIS-DDSM/dicom/{series}/x.dcm", f"CBIS-DDSM/jpeg/{series}/{file}", owner, "wrong in some"))
    table(root / "csv" / "mass_case_description_train_set.csv", rows)
    table(root / "csv" / "dicom_info.csv", info)
    return root


MIAS_INFO = """This file lists the films in the MIAS database and provides appropriate details.
mdb001 G CIRC B 535 425 197
mdb002 G CIRC B 522 280 69
mdb003 D NORM
mdb004 D NORM
mdb005 F CIRC B 477 133 30
mdb005 F CIRC M 500 168 26
mdb006 F NORM
mdb007 G NORM
mdb008 G CALC M *NOTE 3*
mdb009 F MISC B
mdb010 F NORM
"""


def mias(root: Path) -> Path:
    """Writes ten films of five women, and Info.txt with prose, two lines of a film and lines without a place."""
    for number in range(1, 11):
        picture(root / f"mdb{number:03d}.pgm", number, (1024, 1024))
    (root / "Info.txt").write_text(MIAS_INFO)
    return root


def inbreast(root: Path) -> Path:
    """Writes eight images of four women of BI-RADS 1, 2, 3 and 4a to 6; the patient stands in the file's name only."""
    header = ["Patient ID", "Patient age", "Laterality", "View", "Acquisition date", "File Name", "ACR", "Bi-Rads"]
    rows: list[Sequence[object]] = [header]
    grades = {"aa0": ("1", "2"), "bb1": ("3", "4a"), "cc2": ("5", "6"), "dd3": ("2", "2")}
    for number, (patient, pair) in enumerate(grades.items()):
        for side, grade in zip("LR", pair, strict=True):
            file = str(20_586_908 + 10 * number + (side == "R"))
            pixels = film(number, side={"L": "left", "R": "right"}[side])
            save(dicom(pixels), root / "AllDICOMs" / f"{file}_6c613a14b80a8{patient}_MG_{side}_ML_ANON.dcm")
            rows.append(["removed", "removed", side, "MLO", "201001", file, "2", grade])
    table(root / "INbreast.csv", rows, delimiter=";")
    return root


def vindr(root: Path, exams: int = 12) -> Path:
    """Writes exams of two views; odd ones are BI-RADS 5 with a box, one even one is 3; the last four are test."""
    header = (
        "study_id", "series_id", "image_id", "laterality", "view_position", "height", "width", "breast_birads",
        "breast_density", "split",
    )  # fmt: skip
    breasts: list[Sequence[object]] = [header]
    findings: list[Sequence[object]] = [("study_id", "image_id", "finding_categories", "xmin", "ymin", "xmax", "ymax")]
    scanners: list[Sequence[object]] = [("SOP Instance UID", "Manufacturer's Model Name")]
    for number in range(exams):
        grade = 5 if number % 2 else 3 if number == 2 else 1 + number // 2 % 2
        for view in ("CC", "MLO"):
            study, image = f"study{number:02d}", f"image{number:02d}{view.lower()}"
            pixels = film(number, bright=grade == 5)
            save(dicom(pixels, PhotometricInterpretation="MONOCHROME1"), root / f"images/{study}/{image}.dicom")
            split = "test" if number >= exams - 4 else "training"
            breasts.append([study, "s", image, "L", view, 96, 72, f"BI-RADS {grade}", "DENSITY C", split])
            box: tuple[object, ...] = (6.5, 36, 30, 60) if grade == 5 else ("", "", "", "")
            findings.append([study, image, "['Mass']" if grade == 5 else "['No Finding']", *box])
            scanners.append([image, ("Mammomat Inspiration", "Planmed Nuance")[number % 3 == 0]])
    table(root / "breast-level_annotations.csv", breasts)
    table(root / "finding_annotations.csv", findings)
    table(root / "metadata.csv", scanners)
    return root


def bach(root: Path, images: int = 3) -> Path:
    """Writes ``images`` TIFF of each of the four classes and the table without a header."""
    rows = []
    for word, letters in {"Benign": "b", "InSitu": "is", "Invasive": "iv", "Normal": "n"}.items():
        for number in range(1, images + 1):
            name = f"{letters}{number:03d}.tif"
            picture(root / "Photos" / word / name, number, (48, 64, 3))
            rows.append((name, word))
    table(root / "Photos" / "microscopy_ground_truth.csv", rows)
    return root


def idc(root: Path, cases: int = 6) -> Path:
    """Writes two patches of each class of ``cases`` women."""
    for case in range(cases):
        for label in (0, 1):
            for x in (1, 51):
                name = f"{8863 + case}_idx5_x{x}_y1_class{label}.png"
                picture(root / "IDC_regular_ps50_idx5" / str(8863 + case) / str(label) / name, case, (50, 50, 3))
    return root


def pcam(root: Path, sizes: tuple[int, int, int] = (70, 20, 20), *, meta: bool = True) -> Path:
    """Writes the HDF5 files of three splits, and with ``meta`` the slides, ten patches each."""
    import h5py

    root.mkdir(parents=True, exist_ok=True)
    for split, size in zip(("train", "valid", "test"), sizes, strict=True):
        stem = f"camelyonpatch_level_2_split_{split}"
        pixels = np.random.default_rng(size).integers(0, 256, (size, 96, 96, 3), dtype=np.uint8)
        pixels[:, 0, 0, 0] = np.arange(size)
        with h5py.File(root / f"{stem}_x.h5", "w") as file:
            file["x"] = pixels
        with h5py.File(root / f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(size, dtype=np.uint8) % 2).reshape(size, 1, 1, 1)
        if meta:
            rows = [("", "coord_y", "coord_x", "tumor_patch", "center_tumor_patch", "wsi")]
            slides = [(n, 0, 0, n % 2, n % 2, f"camelyon16_{split}_{n // 10:03d}") for n in range(size)]
            table(root / f"{stem}_meta.csv", [*rows, *slides])
    return root
