"""Published label tables: a CSV as rows of stripped cells, or a DataError that names the file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from common.data.files.delimited import decimal_points, read_table
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
        raise DataError(f"There is no {path.name} in {path.parent}; copy the published table there")
    table = read_table(path)
    lacking = [name for name in needed if not table.rows or name not in table.header]
    if lacking:
        raise DataError(f"{path} has no rows or lacks {', '.join(lacking)}; expected the published {path.name}")
    return list(decimal_points(table, table.header))


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
