"""CBIS-DDSM: scanned film mammograms as DICOM, lesions with biopsy-proven classes (Lee 2017).

Its PatientID is not a patient: ``Mass-Training_P_00001_LEFT_CC`` names table, woman, breast and view; with ``_1`` after
it, the crop and mask of a lesion. The tables have a row a lesion, so several a film.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.files.tree import files_below
from common.data.formats import required_root
from common.data.manifest import MASK_SEPARATOR, Dataset, Record
from common.data.pixels.dicom import read_header
from common.data.pixels.images import ImageFiles, read_size
from common.data.readers import cbis_jpeg
from common.data.readers.classes import one_label
from common.data.readers.rows import Row, each, read_rows
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Lee RS, Gimenez F, Hoogi A, Miyake KK, Gorovoy M, Rubin DL. A curated mammography data set for use in "
    "computer-aided detection and diagnosis research. Scientific Data 4:170177, 2017. doi:10.1038/sdata.2017.177; "
    "TCIA doi:10.7937/K9/TCIA.2016.7O02S9CY"
)
LICENCE = "CC BY 3.0 (TCIA)"
NEEDED = ("patient_id", "left or right breast", "image view", "pathology", "assessment")
PATHOLOGY = {"MALIGNANT": 1, "BENIGN": 0, "BENIGN_WITHOUT_CALLBACK": 0}
_TABLES = {"train": "Training", "test": "Test"}
_NAME = re.compile(r"(?P<film>(?P<kind>Mass|Calc)-(Training|Test)_P_\d+_(LEFT|RIGHT)_[A-Z]+)(_(?P<lesion>\d+))?")
_PATIENT = re.compile(r"P_\d+")


def open_cbis_ddsm(data: DataConfig) -> Dataset:
    """Returns CBIS-DDSM: patient is ``P_NNNNN``; a film is malignant if one of its lesions is.

    Attributes: finding (mass or calc), side, view, density, birads (highest), published_split.

    Raises:
        ConfigError, DataError: There is no table, no labelled film, or a file is of another layout.
    """
    root = _root(required_root(data, "the folder with the *_case_description_*_set.csv and the DICOM folders"))
    kaggle = (root / "csv" / cbis_jpeg.INFO).is_file()
    lesions = _lesions(root / "csv" if kaggle else root)
    films, extras, said = cbis_jpeg.files(root, _series(lesions)) if kaggle else _files(root)
    masks = {name: _mask(root, films[name], paths) for name, paths in extras.items() if name in films}
    records = [
        _record(name, films[name], lesions[name], masks.get(name, "")) for name in sorted(films.keys() & lesions)
    ]
    if not records:
        raise DataError(f"No image below {root} is a film of its tables; expected folders as {min(lesions)}")
    kept, left_out = one_label(records)
    return Dataset(
        name="CBIS-DDSM",
        records=kept,
        read=ImageFiles(root),
        citation=CITATION,
        licence=LICENCE,
        notes=(*_notes(lesions, films), *said, *left_out),
    )


def _root(given: Path) -> Path:
    """Returns the folder itself, or its parent where it is the ``csv`` or ``jpeg`` of the copies on Kaggle."""
    above = given.resolve().parent
    return above if given.name in ("csv", "jpeg") and (above / "csv" / cbis_jpeg.INFO).is_file() else given


def _series(lesions: dict[str, list[Row]]) -> dict[str, set[str]]:
    return {
        name: {cbis_jpeg.series_of(row.get("image file path", "")) for row in rows} for name, rows in lesions.items()
    }


def _size(path: Path) -> tuple[int, int]:
    if path.suffix.lower() != ".dcm":
        return read_size(path)
    header = read_header(path)
    return header.rows, header.columns


def _lesions(root: Path) -> dict[str, list[Row]]:
    lesions: dict[str, list[Row]] = defaultdict(list)
    for kind in ("mass", "calc"):
        for word, published in _TABLES.items():
            path = root / f"{kind}_case_description_{word}_set.csv"
            rows = read_rows(path, NEEDED) if path.is_file() else []
            for name, row in zip(each(path, rows, lambda row: _film(kind, published, row)), rows, strict=True):  # noqa: B023
                lesions[name].append(row)
    if not lesions:
        raise DataError(f"There is no mass_ or calc_case_description_..._set.csv in {root}; copy them from TCIA")
    return lesions


def _film(kind: str, published: str, row: Row) -> str:
    name = (
        f"{kind.title()}-{published}_{row['patient_id']}_{row['left or right breast'].upper()}_"
        f"{row['image view'].upper()}"
    )
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no film")
    if row["pathology"].upper() not in PATHOLOGY:
        raise ValueError(f"pathology {row['pathology']!r}, expected {', '.join(PATHOLOGY)}")
    return name


def _files(root: Path) -> tuple[dict[str, str], dict[str, list[str]], tuple[str, ...]]:
    """Returns film -> its DICOM, film -> crops and masks of its lesions, and notes; paths relative to root."""
    films: dict[str, list[str]] = defaultdict(list)
    extras: dict[str, list[str]] = defaultdict(list)
    for path in files_below(root, ".dcm"):
        key = path.relative_to(root).as_posix()
        # Folders are named by PatientID; copies that renamed them still have the tag.
        match = next((m for part in path.parts if (m := _NAME.fullmatch(part))), None)
        match = match or _NAME.fullmatch(read_header(path).patient)
        if match and match["lesion"]:
            extras[match["film"]].append(key)
        elif match:
            films[match["film"]].append(key)
    several = sum(len(keys) > 1 for keys in films.values())
    said = (f"Left out: {several} films with several pictures.",) if several else ()
    return {name: keys[0] for name, keys in films.items() if len(keys) == 1}, extras, said


def _mask(root: Path, film: str, keys: list[str]) -> str:
    """Masks are as large as the film and crops are not; SeriesDescription is wrong in some files."""
    whole = _size(root / film)
    return MASK_SEPARATOR.join(key for key in keys if _size(root / key) == whole)


def _record(name: str, image: str, rows: list[Row], mask: str) -> Record:
    patient = _PATIENT.search(name)
    assert patient, "the name was matched"
    kind, published = name.partition("_")[0].split("-")
    return Record(
        image=image,
        patient=patient.group(),
        label=max(PATHOLOGY[row["pathology"].upper()] for row in rows),
        mask=mask,
        attributes={
            "finding": kind.lower(),
            "side": rows[0]["left or right breast"].lower(),
            "view": rows[0]["image view"].upper(),
            "density": rows[0].get("breast_density") or rows[0].get("breast density", ""),
            "birads": max(row["assessment"] for row in rows),
            "published_split": published.lower(),
        },
    )


def _notes(lesions: dict[str, list[Row]], films: dict[str, str]) -> Iterable[str]:
    yield "Scanned film, not digital mammography; every film shows a lesion, so benign is not the same as healthy."
    absent = len(lesions.keys() - films)
    if absent:
        yield f"{absent} of {len(lesions)} films of the tables are not here."
    unlabelled = len(films.keys() - lesions)
    if unlabelled:
        yield f"{unlabelled} films here stand in no table and are left out."
