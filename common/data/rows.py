"""Published label tables: a CSV as rows of stripped cells, or a DataError that names the file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from common.data.manifest import first
from common.errors import DataError

MAX_BYTES = 256 << 20
Row = Mapping[str, str]
T = TypeVar("T")


def read_rows(path: Path, needed: Collection[str], *, delimiter: str = ",") -> list[dict[str, str]]:
    """Returns at least one row by column name, each with the ``needed`` columns; cells stripped, empty rows left out.

    Raises:
        DataError: The file is missing, too large, no CSV in UTF-8, or has no rows or lacks columns.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES} bytes; expected the published table")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter=delimiter, restkey="", restval="")
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            stripped = ({key: value.strip() for key, value in row.items() if key} for row in reader)
            rows = [row for row in stripped if any(row.values())]
    except FileNotFoundError:
        raise DataError(f"There is no {path.name} in {path.parent}; copy the published table there") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV in UTF-8 ({error}); copy it again") from None
    lacking = [name for name in needed if not rows or name not in rows[0]]
    if lacking:
        raise DataError(f"{path} has no rows or lacks {', '.join(lacking)}; expected the published {path.name}")
    return rows


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
