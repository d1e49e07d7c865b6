"""INbreast: 410 full-field digital mammograms of 115 women, Porto (Moreira 2012)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.files.tree import files_below
from common.data.formats import required_root
from common.data.manifest import Dataset, Record, first
from common.data.pixels.images import ImageFiles
from common.data.readers.birads import birads_grade
from common.data.readers.classes import BIRADS, one_label, without_normal
from common.data.readers.rows import Row, each, read_rows, whole_number
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Moreira IC, Amaral I, Domingues I, Cardoso A, Cardoso MJ, Cardoso JS. INbreast: toward a full-field digital "
    "mammographic database. Academic Radiology 19(2):236-248, 2012. doi:10.1016/j.acra.2011.09.014"
)
LICENCE = "By agreement with the authors (research only); copies elsewhere do not change that"
NEEDED = ("Laterality", "View", "File Name", "ACR", "Bi-Rads")
_FILE = re.compile(r"(?P<file>\d+)_(?P<patient>[0-9a-fA-F]+)_MG_(?P<side>[LR])_[A-Z]+_ANON\.(dcm|png|jpe?g|tiff?)")
_COPIES = (".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
_SIDES = {"L": "left", "R": "right"}


def open_inbreast(data: DataConfig) -> Dataset:
    """Returns INbreast: patient is the second part of a file's name (the table's column is emptied).

    Label 1 for BI-RADS 4 to 6, 0 for 2 and, with ``data.include_normal``, 1. Attributes side, view, density, birads.

    Raises:
        ConfigError, DataError: ``INbreast.csv`` or the DICOM files are missing or of another layout.
    """
    root = required_root(data, "the folder with INbreast.csv and AllDICOMs")
    table = root / "INbreast.csv"
    rows = read_rows(table, NEEDED)
    rows = [{**row, "File Name": name} for row, name in zip(rows, each(table, rows, _check), strict=True)]
    files = _files(root)
    graded = [row for row in rows if birads_grade(row["Bi-Rads"]) in BIRADS]
    wanted = [row for row in graded if data.include_normal or birads_grade(row["Bi-Rads"]) != "1"]
    found = [row for row in wanted if row["File Name"] in files]
    bare = _bare(root, wanted, files)
    if not found:
        raise DataError(
            f"No file below {root} stands in INbreast.csv; expected AllDICOMs/<file>_<patient>_MG_...dcm"
            + (f". {bare} are named by their number alone, and no table tells whose they are" if bare else "")
        )
    here = [row for row in found if _SIDES[row["Laterality"]] == _side(files[row["File Name"]])]
    kept, left_out = one_label(_record(root, files[row["File Name"]], row) for row in here)
    return Dataset(
        name="INbreast",
        records=kept,
        read=ImageFiles(root),
        citation=CITATION,
        licence=LICENCE,
        notes=(
            "Labels are the radiologists' BI-RADS (4 to 6 against 1 and 2), not pathology.",
            f"Left out: {len(rows) - len(graded)} images of BI-RADS 3 or 0.",
            *((f"{len(wanted) - len(found)} images of the table are not here.",) if len(found) < len(wanted) else ()),
            *((f"Left out: {bare} images named by their number alone: whose they are is not told.",) if bare else ()),
            *without_normal(len(graded) - len(wanted)),
            *_sided(len(found) - len(here)),
            *left_out,
        ),
    )


def _files(root: Path) -> dict[str, Path]:
    """Returns number -> file, DICOM or a copy of it under the same name."""
    files: dict[str, list[Path]] = {}
    for path in files_below(root):
        if match := _FILE.fullmatch(path.name):
            files.setdefault(match["file"], []).append(path)
    twice = [str(paths[1].relative_to(root)) for paths in files.values() if len(paths) > 1]
    if twice:
        raise DataError(f"{len(twice)} images of INbreast are there twice below {root} ({first(twice)}); keep one copy")
    return {number: paths[0] for number, paths in files.items()}


def _side(path: Path) -> str:
    match = _FILE.fullmatch(path.name)
    assert match, "the name was matched"
    return _SIDES[match["side"]]


def _sided(other: int) -> tuple[str, ...]:
    return (f"Left out: {other} images whose file's name and row tell different sides.",) if other else ()


def _bare(root: Path, rows: Sequence[Row], files: Mapping[str, Path]) -> int:
    """Returns how many images of the rows are there as copies that dropped the patient from the name."""
    numbers = {row["File Name"] for row in rows if row["File Name"] not in files}
    return len({path.stem for path in files_below(root, *_COPIES)} & numbers)


def _check(row: Row) -> str:
    """Returns the number of the row's image."""
    birads_grade(row["Bi-Rads"])
    if row["Laterality"] not in _SIDES:
        raise ValueError(f"Laterality {row['Laterality']!r}")
    return whole_number(row["File Name"])


def _record(root: Path, path: Path, row: Row) -> Record:
    match = _FILE.fullmatch(path.name)
    assert match, "the name was matched"
    return Record(
        image=path.relative_to(root).as_posix(),
        patient=match["patient"].lower(),
        label=BIRADS[birads_grade(row["Bi-Rads"])],
        attributes={
            "side": _SIDES[row["Laterality"]],
            "view": row["View"],
            "density": row["ACR"],
            "birads": birads_grade(row["Bi-Rads"]),
        },
    )
