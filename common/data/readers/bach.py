"""BACH: 400 histology images of four classes, 2048 x 1536 TIFF (Aresta 2019)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.files.places import is_file
from common.data.formats import find_folder
from common.data.manifest import Dataset, Record, first
from common.data.pixels.images import ImageFiles
from common.data.readers.classes import one_label, without_normal
from common.data.readers.rows import read_rows
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Aresta G, Araujo T, Kwok S, et al. BACH: Grand challenge on breast cancer histology images. Medical Image "
    "Analysis 56:122-139, 2019. doi:10.1016/j.media.2019.05.010; Zenodo doi:10.5281/zenodo.3632035"
)
LICENCE = "CC BY-NC-ND 4.0 (Zenodo)"
TABLE = "microscopy_ground_truth.csv"
CLASSES = {"Normal": 0, "Benign": 0, "InSitu": 1, "Invasive": 1}
"""Non-carcinoma against carcinoma, the two-class task of Araujo et al. (PLoS ONE 12(6):e0177544, 2017)."""


def open_bach(data: DataConfig) -> Dataset:
    """Returns BACH's microscopy images: normal and benign 0, in situ and invasive carcinoma 1; attribute class.

    The patient comes from ``patients.csv`` (columns image, patient) beside the table, which you make from the partial
    list the authors give; an image not in it is its own patient. Normal images come with ``data.include_normal``.

    Raises:
        ConfigError, DataError: The table or images are missing, or a folder contradicts the table.
    """
    folder = find_folder(data, "Photos", "Benign")
    words = _words(_table(folder))
    missing = [name for name, word in words.items() if not is_file(folder / word, name)]
    if missing:
        raise DataError(
            f"{len(missing)} images of {TABLE} are not in the folder of their class below {folder} ({first(missing)}); "
            "copy them"
        )
    patients = _patients(folder)
    kept, left_out = one_label(
        Record(
            image=f"{word}/{name}",
            patient=patients.get(name, Path(name).stem),
            label=CLASSES[word],
            attributes={"class": word.lower()},
        )
        for name, word in sorted(words.items())
        if data.include_normal or word != "Normal"
    )
    normal = 0 if data.include_normal else sum(word == "Normal" for word in words.values())
    alone = sum(Path(record.image).name not in patients for record in kept)
    return Dataset(
        name="BACH",
        records=kept,
        read=ImageFiles(folder),
        citation=CITATION,
        licence=LICENCE,
        notes=(
            f"{alone} images have no known patient and count as one each: test figures are optimistic.",
            *without_normal(normal),
            *left_out,
        ),
    )


def _table(folder: Path) -> Path:
    return next((path for path in (folder / TABLE, folder.parent / TABLE) if path.is_file()), folder / TABLE)


def _patients(folder: Path) -> dict[str, str]:
    path = _table(folder).with_name("patients.csv")
    rows = read_rows(path, ("image", "patient")) if path.is_file() else []
    return {row["image"]: row["patient"] for row in rows if row["patient"]}


def _words(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}); copy it again from the challenge") from None
    # Some copies have a header.
    rows = rows[1:] if rows and not rows[0][0].endswith(".tif") else rows
    odd = [",".join(row) for row in rows if len(row) != 2 or row[1] not in CLASSES or Path(row[0]).name != row[0]]
    if odd or not rows:
        raise DataError(
            f"{path} has {len(odd)} odd lines ({first(odd)}); expected 'b001.tif,Benign' and {set(CLASSES)}"
        )
    if len({row[0] for row in rows}) < len(rows):
        raise DataError(f"{path} names an image twice; copy it again")
    return dict(rows)
