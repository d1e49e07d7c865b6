"""The files of the two Wisconsin tables, as UCI publishes them and as copies with named columns have them.

Columns are told by their names where there are any, else by their places; a row that does not fit is an error.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data.files.delimited import read_cells
from common.errors import DataError

WDBC_FEATURES = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip
WDBC_KINDS = ({"mean", "1"}, {"se", "error", "2"}, {"worst", "3"})
WBC_FEATURES = ("clump", "size", "shape", "adhesion", "epithelial", "nuclei", "chromatin", "nucleoli", "mitoses")
WBC_OTHER_WORDS = {"size": ("epithelial",)}
"""Words of another column's name in which a feature's word stands too."""
WDBC_LABELS = {"m": 1, "malignant": 1, "b": 0, "benign": 0}
WBC_LABELS = {"2": 0, "4": 1, "benign": 0, "malignant": 1}
UNKNOWN = ("?", "", "na", "nan")
SHOWN = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """A table's rows: identifiers, labels (1 malignant), values float32 (n, F) as written, rows with unknown ones."""

    patients: tuple[str, ...]
    labels: tuple[int, ...]
    values: NDArray[np.float32]
    unknown: int = 0
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _Columns:
    """Places of the identifier (None: there is none), of the label and of the features in their order."""

    patient: int | None
    label: int
    features: tuple[int, ...]
    width: int


def read_wdbc(path: Path) -> Rows:
    """Returns the rows of ``wdbc.data`` (no header) or of a table with columns such as ``radius_mean``.

    Raises:
        DataError: A column is missing, or a row holds something else.
    """
    plain = _Columns(0, 1, tuple(range(2, 32)), 32)
    return _read(path, plain, _wdbc_columns, WDBC_LABELS, lambda cell: _number(cell, 0, math.inf))


def read_wbc(path: Path, unknown: float) -> Rows:
    """Returns the rows of ``breast-cancer-wisconsin.data`` (no header) or of a table with named columns.

    Args:
        path: The file.
        unknown: Stands for scores that are not known.

    Raises:
        DataError: A column is missing, or a row holds something else.
    """

    def score(cell: str) -> float | None:
        return unknown if cell.casefold() in UNKNOWN else _number(cell, 1, 10)

    plain = _Columns(0, 10, tuple(range(1, 10)), 11)
    return _read(path, plain, _wbc_columns, WBC_LABELS, score)


def _read(
    path: Path, plain: _Columns, named: Callable[[Path, Sequence[str]], _Columns], labels: Mapping[str, int],
    value: Callable[[str], float | None],
) -> Rows:  # fmt: skip
    rows, delimiter = read_cells(path)
    if not rows:
        raise DataError(f"{path} is empty; expected a table")
    has_header = sum(bool(re.search(r"[^\W\d_]{2,}", cell)) for cell in rows[0][1]) > len(rows[0][1]) / 2
    columns = named(path, rows[0][1]) if has_header else plain
    body = rows[1:] if has_header else rows
    if delimiter != ",":
        body = [(line, [cell.replace(",", ".") for cell in cells]) for line, cells in body]
    made = [_row(cells, columns, labels, value) for _, cells in body]
    odd = [str(line) for (line, _), row in zip(body, made, strict=True) if row is None]
    if odd or not body:
        shown = ", ".join(odd[:SHOWN]) + (f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else "")
        raise DataError(
            f"{path} has {len(odd)} odd lines of {len(body)} (line {shown}); expected an identifier, "
            f"{len(columns.features)} numbers and the class ({', '.join(labels)})"
        )
    good = [row for row in made if row is not None]
    patients = tuple(row[0] or f"row {line}" for row, (line, _) in zip(good, body, strict=True))
    unknown = sum(any(cells[at].casefold() in UNKNOWN for at in columns.features) for _, cells in body)
    notes = () if columns.patient is not None else ("There is no column of identifiers: each row counts as a patient.",)
    values = np.array([row[2] for row in good], dtype=np.float32)
    return Rows(patients, tuple(row[1] for row in good), values, unknown, notes)


def _row(
    cells: Sequence[str], columns: _Columns, labels: Mapping[str, int], value: Callable[[str], float | None]
) -> tuple[str, int, list[float]] | None:  # fmt: skip
    """Returns identifier, label and values of a row; None where it is none."""
    if len(cells) != columns.width:
        return None
    label = labels.get(re.sub(r"\.0+$", "", cells[columns.label].casefold()))
    values = [value(cells[at]) for at in columns.features]
    patient = "" if columns.patient is None else cells[columns.patient]
    known = [number for number in values if number is not None]
    if label is None or len(known) < len(values) or (columns.patient is not None and not patient):
        return None
    return patient, label, known


def _number(cell: str, low: float, high: float) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if low <= number <= high and math.isfinite(number) else None


def _wdbc_columns(path: Path, header: Sequence[str]) -> _Columns:
    words = [_words(name) for name in header]
    features = [
        _only(path, header, f"{feature} {min(kinds, key=len)}", [at for at, found in enumerate(words)
              if found - kinds == set(feature.split()) and len(found & kinds) == 1])
        for kinds in WDBC_KINDS for feature in WDBC_FEATURES
    ]  # fmt: skip
    label = _only(path, header, "diagnosis", [at for at, found in enumerate(words) if found == {"diagnosis"}])
    return _Columns(_identifier(words), label, tuple(features), len(header))


def _wbc_columns(path: Path, header: Sequence[str]) -> _Columns:
    words = [_words(name) for name in header]
    features = [
        _only(path, header, feature, [at for at, found in enumerate(words)
              if feature in found and not found & set(WBC_OTHER_WORDS.get(feature, ()))])
        for feature in WBC_FEATURES
    ]  # fmt: skip
    label = _only(path, header, "class", [at for at, found in enumerate(words) if found & {"class", "diagnosis"}])
    return _Columns(_identifier(words), label, tuple(features), len(header))


def _words(name: str) -> set[str]:
    """Returns the words and single digits of a column's name: ``radius1``, ``radius_mean``, ``Mean Radius``."""
    found = set(re.findall(r"[a-z]+|\d", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()))
    single = {"mitosis": "mitoses", "nucleus": "nuclei", "nucleolus": "nucleoli", "standard": "se"}
    joined = {"concavepoints": {"concave", "points"}, "fractaldimension": {"fractal", "dimension"}}
    renamed = {single.get(word, word) for word in found}
    return {part for word in renamed for part in joined.get(word, {word})}


def _identifier(words: Sequence[set[str]]) -> int | None:
    found = [at for at, some in enumerate(words) if "id" in some or {"code", "number"} <= some]
    return found[0] if len(found) == 1 else None


def _only(path: Path, header: Sequence[str], what: str, found: Sequence[int]) -> int:
    if len(found) != 1:
        raise DataError(
            f"{path} has {len(found)} columns of {what}; expected one. Its columns are {', '.join(header[:8])}, ..."
        )
    return found[0]
