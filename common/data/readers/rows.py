"""Published label tables: a CSV as rows of stripped cells, or a DataError that names the file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from common.data.files.delimited import decimal_points, read_table
from common.data.files.tree import folders_in, is_there
from common.data.manifest import first
from common.errors import DataError

Row = Mapping[str, str]
T = TypeVar("T")


def read_rows(path: Path, needed: Collection[str]) -> list[dict[str, str]]:
    """Returns at least one row by column name, each with the ``needed`` columns; cells stripped, empty rows left out.

    Any separator and encoding of :func:`common.data.files.delimited.read_table`; decimal commas are read as points.

    Raises:
        DataError: The file is missing or no table, or has no rows or lacks columns.
    """
    if not path.exists():
        raise DataError(f"There is no {path.name} in {path.parent}; {_remedy(path)}")
    table = read_table(path)
    lacking = [name for name in needed if name not in table.header]
    if lacking or not table.rows:
        fault = f"lacks {', '.join(lacking)}" if lacking else "has no rows"
        raise DataError(f"{path} {fault}; expected the published {path.name}")
    return list(decimal_points(table, table.header))


def _remedy(path: Path) -> str:
    """Returns what to do where a table is missing: it may lie beside the folder that was given, or just below it."""
    folder = path.parent
    if folder.is_file():
        return "that is a file: give its folder"
    near = [place for place in (folder.parent, *folders_in(folder)) if is_there(place / path.name)]
    return f"it is in {near[0]}: give that folder" if near else "copy the published table there"


def whole_number(text: str) -> str:
    """Returns a whole number as text: tables write 12 as 12.0 where a column has gaps.

    Raises:
        ValueError: It is none; a spreadsheet rounds long ones (1.99E+15), and then two look like one.
    """
    digits, _, rest = text.partition(".")
    if not digits.isdecimal() or rest.strip("0"):
        raise ValueError(f"{text!r} is no whole number")
    return digits


def each(path: Path, rows: Collection[Row], make: Callable[[Row], T]) -> list[T]:
    """Returns ``make(row)`` of each row.

    Raises:
        DataError: ``make`` raised KeyError or ValueError; counts the lines and names the first.
    """
    made: list[T] = []
    odd: list[str] = []
    for line, row in enumerate(rows, 2):
        try:
            made.append(make(row))
        except (KeyError, ValueError) as error:
            odd.append(f"line {line}: {error}")
    if odd:
        raise DataError(f"{path} has {len(odd)} lines that are not as published ({first(odd)}); copy it again")
    return made
