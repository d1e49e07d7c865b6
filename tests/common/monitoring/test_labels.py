"""Labels: late, corrected, twice, contradicting or of nobody; each is counted, and nothing is lost or mixed."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DataError
from common.monitoring.labels import SOURCES, Label, current, from_lines, read_labels, to_line, told

TODAY = date(2026, 11, 1)
labels = st.builds(
    Label,
    exam=st.sampled_from(["A", "B", "C", "é"]),
    malignant=st.booleans(),
    source=st.sampled_from(SOURCES),
    day=st.dates(date(2026, 1, 1), date(2026, 1, 4)),
    seen=st.just(TODAY),
)
files = st.lists(labels, max_size=12)


@given(files)
def test_what_is_written_is_read(found: list[Label]) -> None:
    assert from_lines(map(to_line, found)) == tuple(found)


@given(files, st.lists(labels, max_size=12, unique_by=lambda label: label.of))
def test_telling_twice_adds_nothing(known: list[Label], incoming: list[Label]) -> None:
    first = told(known, incoming, set())
    again = told([*known, *first.new], incoming, set())
    assert again.new == () and again.repeated + again.older == len(incoming)


@given(files, files)
def test_every_row_is_counted_once_and_a_later_day_wins(known: list[Label], incoming: list[Label]) -> None:
    found = told(known, incoming, {"A"})
    days = {(row.of, row.day): {one.malignant for one in incoming if (one.of, one.day) == (row.of, row.day)}
            for row in incoming}  # fmt: skip
    contested = {of for (of, _), answers in days.items() if len(answers) == 2}
    rows = sum(row.of in contested for row in incoming)
    assert len(found.new) + found.repeated + found.older + rows == len(incoming)
    assert found.conflicting == len(contested) and not any(label.of in contested for label in found.new)
    before = current(known)
    for key, label in current([*known, *found.new]).items():
        if key in before and label.malignant != before[key].malignant:
            assert label.day >= before[key].day
    assert found.unknown == len({label.exam for label in incoming} - {"A"})


def test_a_corrected_label_counts_from_when_it_was_corrected() -> None:
    first = Label(exam="A", malignant=False, source="biopsy", day=TODAY - timedelta(9), seen=TODAY)
    other = Label(exam="B", malignant=True, source="biopsy", day=TODAY - timedelta(8), seen=TODAY)
    mended = Label(exam="A", malignant=True, source="biopsy", day=TODAY - timedelta(7), seen=TODAY)
    found = told([first, other], [mended], {"A", "B"})
    assert (found.new, found.corrected, found.unknown) == ((mended,), 1, 0)
    assert list(current([first, other, mended]).values()) == [other, mended]


def test_a_csv_is_read_by_exam_or_accession(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("Accession;Label;Source;Date\n 007 ;Malignant;biopsy;2026-01-02\n8;0;reader;2026-01-03\n")
    found = read_labels(path, TODAY)
    assert [(one.exam, one.malignant, one.source, one.day) for one in found] == [
        ("007", True, "biopsy", date(2026, 1, 2)),
        ("8", False, "reader", date(2026, 1, 3)),
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (",malignant,biopsy,2026-01-02", "no exam"),
        ("A,maybe,biopsy,2026-01-02", "malignant, benign"),
        ("A,1,gossip,2026-01-02", "reader, biopsy, interval"),
        ("A,1,biopsy,02.01.2026", "2026-01-31"),
        ("A,1,biopsy,2027-01-02", "future"),
    ],
)
def test_a_row_that_cannot_be_understood_stops_the_file_by_its_line(tmp_path: Path, row: str, says: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"exam,label,source,date\nB,1,biopsy,2026-01-02\n{row}\n")
    with pytest.raises(DataError, match=f"line 3.*{says}"):
        read_labels(path, TODAY)


def test_a_missing_column_and_a_damaged_line_are_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("exam,label,date\nA,1,2026-01-02\n")
    with pytest.raises(DataError, match="'source'"):
        read_labels(path, TODAY)
    with pytest.raises(DataError, match="line 2"):
        from_lines([to_line(Label(exam="A", malignant=True, source="reader", day=TODAY, seen=TODAY)), "{"])
