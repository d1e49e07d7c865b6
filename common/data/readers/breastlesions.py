"""Breast-Lesions-USG (BrEaST): 256 ultrasound images of 256 patients with lesion masks and BI-RADS (Pawlowska 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from common.data.files.tree import files_in, is_there
from common.data.formats import required_root
from common.data.manifest import Dataset, Record, first
from common.data.pixels.images import ImageFiles
from common.data.readers.classes import without_normal
from common.data.readers.regions import DrawnRegions, alpha_key
from common.data.readers.rows import Row, each, read_rows
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Pawlowska A, Cwierz-Pienkowska A, Domalik A, et al. Curated benchmark dataset for ultrasound based breast lesion "
    "analysis. Scientific Data 11:148, 2024. doi:10.1038/s41597-024-02984-z; TCIA doi:10.7937/9WKK-Q141"
)
LICENCE = "CC BY 4.0 (TCIA)"
IMAGES = "BrEaST-Lesions_USG-images_and_masks"
NEEDED = ("CaseID", "Image_filename", "Mask_tumor_filename", "BIRADS", "Classification")
LABELS = {"benign": 0, "malignant": 1, "normal": 0}


def open_breast_lesions_usg(data: DataConfig) -> Dataset:
    """Returns BrEaST: patient is ``CaseID``; normal images with ``data.include_normal``. Attributes finding, birads.

    The tumour is where a mask file is opaque (its alpha channel, as its authors read it).

    Raises:
        ConfigError, DataError: The table or images are missing or of another layout.
    """
    root = required_root(data, "the folder with BrEaST-Lesions-USG-clinical-data...csv and the images")
    table = _table(root)
    rows = read_rows(table, NEEDED)
    each(table, rows, _check)
    wanted = [row for row in rows if data.include_normal or row["Classification"].lower() != "normal"]
    folder = root / IMAGES if (root / IMAGES).is_dir() else root
    missing = [row["Image_filename"] for row in wanted if not is_there(folder / row["Image_filename"])]
    if missing or not wanted:
        raise DataError(f"{len(missing)} images of {table.name} are not in {folder} ({first(missing)}); copy them")
    records = tuple(_record(folder, row) for row in wanted)
    unmasked = sum(not record.mask and record.attributes["finding"] != "normal" for record in records)
    return Dataset(
        name="Breast-Lesions-USG",
        records=records,
        read=DrawnRegions(ImageFiles(folder)),
        citation=CITATION,
        licence=LICENCE,
        notes=(
            "Not every benign lesion was biopsied: some are benign by follow-up.",
            *((f"{unmasked} images have no mask file.",) if unmasked else ()),
            *without_normal(len(rows) - len(wanted)),
        ),
    )


def _table(root: Path) -> Path:
    tables = [path for path in files_in(root, ".csv") if path.name.startswith("BrEaST-Lesions-USG-clinical-data")]
    if len(tables) != 1:
        raise DataError(
            f"There are {len(tables)} tables BrEaST-Lesions-USG-clinical-data...csv in {root}; expected one: "
            "save the first sheet of TCIA's workbook as CSV"
        )
    return tables[0]


def _check(row: Row) -> None:
    names = [row["Image_filename"], row["Mask_tumor_filename"]]
    if row["Classification"].lower() not in LABELS or not row["CaseID"] or any("/" in name for name in names):
        raise ValueError(f"CaseID {row['CaseID']!r}, Classification {row['Classification']!r}")


def _record(folder: Path, row: Row) -> Record:
    mask = row["Mask_tumor_filename"]
    return Record(
        image=row["Image_filename"],
        patient=row["CaseID"].zfill(3),
        label=LABELS[row["Classification"].lower()],
        mask=alpha_key(mask) if mask and is_there(folder / mask) else "",
        attributes={"finding": row["Classification"].lower(), "birads": row["BIRADS"]},
    )
