"""RSNA, EMBED and BUS-UC in small: films of noise in the published layouts, tables with the published columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.common.data.layouts import dicom, film, picture, save, table

RSNA_HEADER = (
    "site_id", "patient_id", "image_id", "laterality", "view", "age", "cancer", "biopsy", "invasive", "BIRADS",
    "implant", "density", "machine_id", "difficult_negative_case",
)  # fmt: skip


def rsna_row(patient: str, image: str, side: str, cancer: int, biopsy: int, **cells: object) -> list[object]:
    """Returns a row of train.csv; ``cells`` win."""
    told: dict[str, object] = {
        "site_id": 1 + int(patient or 0) % 2, "patient_id": patient, "image_id": image, "laterality": side,
        "view": "CC", "age": "61.0", "cancer": cancer, "biopsy": biopsy, "invasive": cancer, "BIRADS": "",
        "implant": 0, "density": "B", "machine_id": 29, "difficult_negative_case": False,
    }  # fmt: skip
    return [{**told, **cells}[name] for name in RSNA_HEADER]


def rsna(root: Path, rows: Sequence[Sequence[object]], form: str = "train_images/{patient}/{image}.dcm") -> Path:
    """Writes train.csv and an image a row, as DICOM or a picture of 8 bits by the form's ending."""
    table(root / "train.csv", [RSNA_HEADER, *rows])
    for number, row in enumerate(rows):
        path = root / form.format(patient=row[1], image=row[2])
        if path.suffix == ".dcm":
            save(dicom(film(number)), path)
        else:
            picture(path, number, (32, 24))
    return root


EMBED_FINDINGS = (
    "empi_anon", "acc_anon", "numfind", "side", "asses", "path_severity", "bside", "tissueden", "RACE_DESC",
    "ETHNIC_GROUP_DESC", "age_at_study",
)  # fmt: skip
EMBED_FILES = (
    "empi_anon", "acc_anon", "anon_dicom_path", "FinalImageType", "ImageLateralityFinal", "ViewPosition", "spot_mag",
    "Manufacturer", "ManufacturerModelName", "PatientSex", "ROI_coords",
)  # fmt: skip
STORE = "/mnt/NAS2/mammo/anon_dicom"


def finding(patient: str, exam: str, side: str, asses: str, severity: str = "", bside: str = "") -> dict[str, str]:
    """Returns a row of the clinical table."""
    cells = (patient, exam, "1", side, asses, severity, bside, "2.0", "Black", "Non-Hispanic", "57.3")
    return dict(zip(EMBED_FINDINGS, cells, strict=True))


def embed_file(patient: str, exam: str, side: str, image: str, kind: str = "2D", spot: str = "") -> dict[str, str]:
    """Returns a row of the table of files."""
    path = f"{STORE}/cohort_1/{patient}/{exam}/1.2.{image}/{image}.dcm"
    cells = (patient, exam, path, kind, side, "CC", spot, "HOLOGIC, Inc.", "Selenia Dimensions", "F", "()")
    return dict(zip(EMBED_FILES, cells, strict=True))


def embed(
    root: Path, findings: Sequence[Mapping[str, str]], files: Sequence[Mapping[str, str]], suffix: str = ".dcm"
) -> Path:  # fmt: skip
    """Writes both tables in ``tables`` and an image a file in ``images``."""
    for word, header, rows in (("clinical", EMBED_FINDINGS, findings), ("metadata", EMBED_FILES, files)):
        table(root / "tables" / f"EMBED_OpenData_{word}.csv", [header, *([row[n] for n in header] for row in rows)])
    for number, row in enumerate(files):
        path = (root / "images" / row["anon_dicom_path"].removeprefix(f"{STORE}/")).with_suffix(suffix)
        if suffix == ".dcm":
            save(dicom(film(number)), path)
        else:
            picture(path, number, (32, 24))
    return root


def bus_uc(root: Path, benign: int, malignant: int) -> Path:
    """Writes both classes, counted from 001 in each, masks under the same names, and ``All`` with all of them anew."""
    for word, number in (("Benign", benign), ("Malignant", malignant)):
        for n in range(1, number + 1):
            at = 100 * (word == "Malignant") + n
            picture(root / "BUS_UC" / word / "images" / f"{n:03d}.png", at, (40, 50, 3))
            picture(root / "BUS_UC" / "All" / "images" / f"{at:03d}.png", at, (40, 50, 3))
            mask = np.zeros((40, 50), dtype=np.uint8)
            mask[:n, :10] = 255
            (root / "BUS_UC" / word / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(root / "BUS_UC" / word / "masks" / f"{n:03d}.png")
    return root
