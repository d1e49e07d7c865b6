"""Tables read the same however a spreadsheet wrote them; what does not fit is an error that names the line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.files.delimited import decimal_points, read_cells, read_table
from common.errors import DataError

WORD = st.text(st.characters(codec="cp1252", exclude_categories=("C", "Z", "Mn")), min_size=1, max_size=8)
CELL = st.one_of(WORD, st.sampled_from(["a,b", "1;2", "x\ty", 'say "no"', "two\nlines", "", "54,5"]))
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])


def write(path: Path, rows: list[list[str]], sep: str, encoding: str, newline: str, first: str = "") -> Path:
    text = io.StringIO()
    csv.writer(text, delimiter=sep, lineterminator=newline).writerows(rows)
    path.write_bytes((first + text.getvalue()).encode(encoding))
    return path


def header(width: int) -> list[str]:
    return [f"col{number}" for number in range(width)]


@given(st.data(), st.sampled_from([",", ";", "\t", "|"]), ENCODINGS, st.sampled_from(["\n", "\r\n"]))
def test_a_table_is_read_back_whatever_wrote_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, sep: str, encoding: str, newline: str
) -> None:
    width = data.draw(st.integers(2, 5))
    body = data.draw(st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=6))
    rows = [["x", *row[1:]] for row in body]  # a row without any cell is left out
    path = write(tmp_path_factory.mktemp("t") / "t.csv", [header(width), *rows], sep, encoding, newline)
    table = read_table(path)
    assert [list(row.values()) for row in table.rows] == rows
    assert table.header == tuple(header(width)) and table.delimiter == sep
    ascii_only = all(cell.isascii() for row in rows for cell in row)
    assert bool(table.notes) == (encoding == "cp1252" and not ascii_only)


def test_sep_lines_empty_rows_and_trailing_separators_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sep=;\nimage;label;\n\na.png;benign;\n;;\nb.png;malignant;\n")
    table = read_table(tmp_path / "t.csv")
    assert [row["image"] for row in table.rows] == ["a.png", "b.png"] and table.header == ("image", "label")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b\n1,2,3\n", r"1 lines have more cells than the header's 2 \(line 2\)"),
        (b"a,a\n1,2\n", "names a column twice"),
        (b"", "is empty"),
        (b'a,b\n"1,2\n', "cannot be read as a table"),
        (b"PK\x03\x04rest", "workbook"),
        (b"a,b\n\x81\x8d,2\n", "in none of UTF-8"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / "t.csv")


@given(st.lists(st.decimals(-999, 9999, places=2), min_size=1, max_size=6))
def test_decimal_commas_become_points(tmp_path_factory: pytest.TempPathFactory, numbers: list[object]) -> None:
    rows = [["id", "age"], *([f"p{n}", str(number).replace(".", ",")] for n, number in enumerate(numbers))]
    table = read_table(write(tmp_path_factory.mktemp("t") / "t.csv", rows, ";", "utf-8", "\n"))
    assert [row["age"] for row in decimal_points(table, ["age"])] == [str(number) for number in numbers]
    assert [row["age"] for row in decimal_points(table, ["id"])] == [row[1] for row in rows[1:]]


@pytest.mark.parametrize("cells", [["1,234", "5"], ["1,5", "left"], ["1,2", "1,2,3"]])
def test_what_may_be_no_decimal_stays(tmp_path: Path, cells: list[str]) -> None:
    table = read_table(write(tmp_path / "t.csv", [["a", "b"], *([c, "x"] for c in cells)], ";", "utf-8", "\n"))
    assert [row["a"] for row in decimal_points(table, table.header)] == cells


def test_cells_without_a_header_lose_only_what_is_empty_everywhere(tmp_path: Path) -> None:
    (tmp_path / "t.data").write_text("1,M,2,\n2,B,,\n")
    assert read_cells(tmp_path / "t.data") == ([(1, ["1", "M", "2"]), (2, ["2", "B", ""])], ",")
