"""CBIS-DDSM as it lies on Kaggle: JPEG by series UID, and csv/dicom_info.csv with what the DICOM headers said.

A film's picture is the one whose row has the film's PatientID *and* stands under the series that the label table names.
Where the two disagree the film is left out, for one of them points at another picture.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from common.data.files.tree import is_there
from common.data.readers.rows import Row, read_rows

INFO = "dicom_info.csv"
NEEDED = ("image_path", "PatientID")
_LESION = re.compile(r"(?P<film>.+_[A-Z]+)_\d+")


def series_of(path: str) -> str:
    """Returns the series UID of a table's path, ``NAME/STUDY/SERIES/000000.dcm``; empty where there is none."""
    parts = PurePosixPath(path.strip()).parts
    return parts[-2] if len(parts) >= 3 else ""


def files(root: Path, series: Mapping[str, set[str]]) -> tuple[dict[str, str], dict[str, list[str]], tuple[str, ...]]:
    """Returns film -> its JPEG, film -> crops and masks of its lesions, and notes of what was left out.

    Args:
        root: The folder with ``csv`` and ``jpeg``.
        series: Film -> the series UIDs that its rows of the label tables name.
    """
    pictures: dict[str, set[str]] = defaultdict(set)
    extras: dict[str, list[str]] = defaultdict(list)
    for row in read_rows(root / "csv" / INFO, NEEDED):
        key = _key(row)
        if key and is_there(root / key):
            lesion = _LESION.fullmatch(row["PatientID"])
            if lesion:
                extras[lesion["film"]].append(key)
            else:
                pictures[row["PatientID"]].add(key)
    films = {name: next(iter(keys)) for name, keys in pictures.items() if len(keys) == 1}
    torn = [name for name, key in films.items() if name in series and {PurePosixPath(key).parts[-2]} != series[name]]
    several = sum(len(keys) > 1 for keys in pictures.values())
    for name in torn:
        del films[name]
    return films, extras, tuple(_notes(len(torn), several))


def _key(row: Row) -> str:
    """Returns ``jpeg/UID/NAME.jpg``: the published path begins with the folder of whoever made it."""
    parts = PurePosixPath(row["image_path"]).parts
    return "/".join(parts[-3:]) if len(parts) >= 3 and parts[-3] == "jpeg" and ".." not in parts else ""


def _notes(torn: int, several: int) -> list[str]:
    said = {
        f"Left out: {torn} films whose label table names another series than {INFO}.": torn,
        f"Left out: {several} films with several pictures under one PatientID in {INFO}.": several,
    }
    return ["JPEG copies of 8 bits.", *(text for text, count in said.items() if count)]
