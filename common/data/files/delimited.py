"""Tables as text, as spreadsheets and archives write them: one reader for manifests, label tables and public tables.

Encoding and separator are read off the file; a line that does not fit the header is an error, never cut or shifted.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from common.errors import DataError

MAX_BYTES = 256 << 20
DELIMITERS = (",", ";", "\t", "|")
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_COMMA_NUMBER = re.compile(r"[-+]?\d+(,\d+)?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+")


@dataclasses.dataclass(frozen=True, slots=True)
class TextTable:
    """A table's cells, stripped, with their accents composed (NFC).

    Attributes:
        header: Names of the columns, each once.
        rows: Column -> cell; rows without any cell are left out.
        lines: Line of the file at which each row ends.
        delimiter: What parts the cells.
        notes: What a person should know of how the file was read.
    """

    header: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]
    delimiter: str
    notes: tuple[str, ...]


def read_table(path: Path, *, delimiter: str = "") -> TextTable:
    """Returns the table: UTF-8, UTF-16 or Windows-1252; cells parted by comma, semicolon, tab or bar.

    Args:
        path: The file.
        delimiter: Of a published table; empty: the one that gives the header the most columns.

    Raises:
        DataError: It is missing, too large, a workbook or in another encoding, a column is named twice, or a line has
            more cells than the header.
    """
    text, notes = _decoded(path)
    text, named = _without_sep_line(text)
    chosen = delimiter or named or _delimiter(text)
    try:
        lines = _cells(text, chosen, strict=True)
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table ({error}); save it as CSV again") from None
    if not lines:
        raise DataError(f"{path} is empty; expected a header and rows")
    header = _header(path, lines)
    rows = [(number, cells) for number, cells in lines[1:] if any(cells)]
    _check_widths(path, header, rows, chosen)
    kept = [at for at, name in enumerate(header) if name]
    found = tuple({header[at]: cells[at] if at < len(cells) else "" for at in kept} for _, cells in rows)
    names = tuple(header[at] for at in kept)
    return TextTable(names, found, tuple(number for number, _ in rows), chosen, notes)


def read_cells(path: Path) -> tuple[list[tuple[int, list[str]]], str]:
    """Returns line number and cells of each row of a table that may have no header, and what parts the cells.

    Cells at the end of rows that are empty in all of them are left out, and so are empty rows.

    Raises:
        DataError: As :func:`read_table`, but for the header.
    """
    text, named = _without_sep_line(_decoded(path)[0])
    chosen = named or _delimiter(text)
    try:
        rows = [(number, cells) for number, cells in _cells(text, chosen, strict=True) if any(cells)]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table ({error}); save it as CSV again") from None
    widths = [max((at for at, cell in enumerate(cells, 1) if cell), default=0) for _, cells in rows]
    return [(number, cells[: max(widths)]) for number, cells in rows], chosen


def decimal_points(table: TextTable, columns: Collection[str]) -> tuple[dict[str, str], ...]:
    """Returns the rows with points for the decimal commas of these columns.

    Only where cells are not parted by commas, and where every cell of the column is a number and one at least cannot
    be a number with thousands parted (``1,234``).
    """
    if table.delimiter == ",":
        return table.rows
    wanted = {column for column in columns if _has_decimal_commas([row[column] for row in table.rows])}
    return tuple(
        {name: cell.replace(",", ".") if name in wanted else cell for name, cell in row.items()} for row in table.rows
    )


def _has_decimal_commas(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    commas = [cell for cell in filled if "," in cell]
    return all(_COMMA_NUMBER.fullmatch(cell) for cell in filled) and any(not _THOUSANDS.fullmatch(c) for c in commas)


def _decoded(path: Path) -> tuple[str, tuple[str, ...]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES} bytes; expected a table")
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"There is no {path.name} in {path.parent}; expected a table") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    if raw.startswith(_WORKBOOKS):
        raise DataError(f"{path} is a workbook or an archive; save its sheet as CSV (UTF-8)")
    for encoding in _encodings(raw):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        return text, _said(path, text) if encoding == "cp1252" else ()
    raise DataError(f"{path} is in none of UTF-8, UTF-16 and Windows-1252; save it as CSV (UTF-8)")


def _encodings(raw: bytes) -> tuple[str, ...]:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ("utf-16",)
    if b"\0" in raw[:4096]:
        # A header is ASCII for the most part: its zero bytes tell the order of the two.
        return ("utf-16-le",) if raw[1:4096:2].count(0) > raw[0:4096:2].count(0) else ("utf-16-be",)
    return ("utf-8-sig", "cp1252")


def _said(path: Path, text: str) -> tuple[str, ...]:
    words = [word for word in re.findall(r"\w+", text) if not word.isascii()]
    example = f", as in {words[0]!r}" if words else ""
    return (f"{path.name} is not in UTF-8 and was read as Windows-1252{example}; if that is wrong, save it as UTF-8.",)


def _without_sep_line(text: str) -> tuple[str, str]:
    """Returns the text without the line ``sep=;`` that spreadsheets write first, and its separator."""
    match = re.match(r"\s*\"?sep=(.)\"?\r?\n", text, re.IGNORECASE)
    return (text[match.end() :], match[1]) if match else (text, "")


def _delimiter(text: str) -> str:
    """Returns the separator that gives the first line the most cells, and of equals the most lines that many."""

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            widths = [len(cells) for _, cells in _cells(text[:65_536], delimiter)]
        except csv.Error:
            return 0, 0
        return (widths[0], widths.count(widths[0])) if widths else (0, 0)

    return max(DELIMITERS, key=fit)


def _cells(text: str, delimiter: str, *, strict: bool = False) -> list[tuple[int, list[str]]]:
    """Returns line number and cells of each row from the first that has any; strict: open quotes raise."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)
    found = [(reader.line_num, [_cell(cell) for cell in cells]) for cells in reader]
    start = next((at for at, (_, cells) in enumerate(found) if any(cells)), len(found))
    return found[start:]


def _cell(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _header(path: Path, lines: Sequence[tuple[int, list[str]]]) -> list[str]:
    """Returns the columns' names; one without a name gets one if it holds anything, and else stays empty."""
    names = list(lines[0][1])
    filled = {at for _, cells in lines[1:] for at, cell in enumerate(cells) if cell}
    names = [name or (f"column {at + 1}" if at in filled else "") for at, name in enumerate(names)]
    twice = sorted(name for name, count in Counter(filter(None, names)).items() if count > 1)
    if twice:
        raise DataError(f"{path.name} names a column twice ({', '.join(twice)}); give each column a name of its own")
    return names


def _check_widths(
    path: Path, header: Sequence[str], rows: Sequence[tuple[int, list[str]]], delimiter: str
) -> None:  # fmt: skip
    long = [number for number, cells in rows if any(cells[len(header) :])]
    if long:
        shown = ", ".join(map(str, long[:3]))
        sign = {"\t": "tab"}.get(delimiter, f"'{delimiter}'")
        raise DataError(
            f"{path.name}: {len(long)} lines have more cells than the header's {len(header)} (line {shown}); put cells "
            f"that hold a {sign} in quotes, or name all columns"
        )
