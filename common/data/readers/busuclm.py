"""BUS-UCLM: breast ultrasound of 38 patients, 683 images with masks of benign (green) and malignant (red) lesions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.data.files.tree import is_there
from common.data.formats import find_folder
from common.data.manifest import Dataset, Record, first
from common.data.pixels.images import ImageFiles, read_image
from common.data.readers.classes import one_label, without_normal
from common.data.readers.rows import Row, each, read_rows
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Vallez N, Bueno G, Deniz O, Rienda MA, Pastor C. BUS-UCLM: Breast ultrasound lesion segmentation dataset. "
    "Scientific Data, 2025. doi:10.1038/s41597-025-04562-3"
)
LICENCE = "As its page on Mendeley Data says for your version (doi:10.17632/7fvgj4jsp7)"
NEEDED = ("Image", "Label")
LABELS = {"benign": 0, "malignant": 1, "normal": 0}
_IMAGE = re.compile(r"(?P<patient>[A-Z]{4})_\d{3}\.png")


def open_bus_uclm(data: DataConfig) -> Dataset:
    """Returns BUS-UCLM: patient is the four letters before a file's number; normal with ``data.include_normal``.

    An image whose mask has other colours than its label is left out: one of them is wrong. Attributes finding, doppler.

    Raises:
        ConfigError, DataError: The folder, ``INFO.csv`` or files are missing or of another layout.
    """
    folder = find_folder(data, "BUS-UCLM", "INFO.csv")
    table = folder / "INFO.csv"
    rows = read_rows(table, NEEDED)
    each(table, rows, _check)
    wanted = [row for row in rows if data.include_normal or row["Label"].lower() != "normal"]
    missing = [row["Image"] for row in wanted if not is_there(folder / "images" / row["Image"])]
    if missing or not wanted:
        raise DataError(f"{len(missing)} images of {table} are not in images ({first(missing)}); copy them")
    torn = {row["Image"] for row in wanted if _contradicts(folder, row)}
    kept, left_out = one_label(_record(folder, row) for row in wanted if row["Image"] not in torn)
    return Dataset(
        name="BUS-UCLM",
        records=kept,
        read=ImageFiles(folder),
        citation=CITATION,
        licence=LICENCE,
        notes=(
            f"{len(rows)} images of few patients; some carry Doppler colours or marks.",
            *((f"Left out: {len(torn)} images whose mask has other colours than INFO.csv says.",) if torn else ()),
            *without_normal(len(rows) - len(wanted)),
            *left_out,
        ),
    )


def _check(row: Row) -> None:
    if row["Label"].lower() not in LABELS or not _IMAGE.fullmatch(row["Image"]):
        raise ValueError(f"Image {row['Image']!r}, Label {row['Label']!r}")


def _mask(folder: Path, row: Row) -> str:
    name = f"masks/{row['Image']}"
    return name if is_there(folder / name) else ""


def _contradicts(folder: Path, row: Row) -> bool:
    """Returns whether the mask's colours tell another class: any red is malignant, else any green benign."""
    name = _mask(folder, row)
    pixels = read_image(folder / name) if name else None
    if pixels is None or pixels.ndim != 3:  # none, or a copy that lost its colours: it tells no class
        return False
    red, green = (bool(np.any((pixels[..., at] > 0.5) & (pixels[..., 1 - at] < 0.5))) for at in (0, 1))
    return row["Label"].lower() != ("malignant" if red else "benign" if green else "normal")


def _record(folder: Path, row: Row) -> Record:
    match = _IMAGE.fullmatch(row["Image"])
    assert match, "the name was checked"
    finding = row["Label"].lower()
    return Record(
        image=f"images/{row['Image']}",
        patient=match["patient"],
        label=LABELS[finding],
        mask=_mask(folder, row) if finding != "normal" else "",
        attributes={"finding": finding, "doppler": row.get("Doppler", "").lower()},
    )
