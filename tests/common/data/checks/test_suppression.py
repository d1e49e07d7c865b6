"""Whoever knows all totals cannot work out a small count from what is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.data.checks.suppression import told_cells, told_rows

COUNTS = st.integers(0, 40)
MIN_CELL = st.integers(1, 12)
ROWS = st.dictionaries(
    st.sampled_from(["train", "val", "test", "none"]), st.fixed_dictionaries({"malignant": COUNTS, "benign": COUNTS})
)


@given(ROWS, MIN_CELL)
def test_a_row_is_told_whole_or_not_at_all(rows: dict[str, dict[str, int]], min_cell: int) -> None:
    told = told_rows(rows, min_cell)
    assert list(told) == list(rows)
    for name, row in rows.items():
        assert told[name] in (row, dict.fromkeys(row))
        if any(row.values()) and min(row.values()) < min_cell:
            assert told[name] == dict.fromkeys(row)


@given(ROWS, MIN_CELL)
def test_the_total_leaves_no_few_patients_over(rows: dict[str, dict[str, int]], min_cell: int) -> None:
    told = told_rows(rows, min_cell)
    hidden = sum(sum(row.values()) for name, row in rows.items() if None in told[name].values())
    everybody = sum(sum(row.values()) for row in rows.values())
    assert hidden == 0 or hidden >= min(min_cell, everybody)


@given(st.dictionaries(st.text(max_size=3), COUNTS, max_size=6), MIN_CELL)
def test_no_single_group_is_hidden_alone(cells: dict[str, int], min_cell: int) -> None:
    told = told_cells(cells, min_cell)
    hidden = [cells[name] for name, count in told.items() if count is None]
    assert all(count is None or count >= min_cell for count in told.values())
    assert len(hidden) != 1 or len(cells) == 1
    assert not hidden or sum(hidden) >= min(min_cell, sum(cells.values()))


def test_nothing_is_hidden_without_need() -> None:
    rows = {"train": {"malignant": 30, "benign": 70}, "val": {"malignant": 0, "benign": 0}}
    assert told_rows(rows, 5) == rows
    assert told_cells({"a": 7, "b": 9}, 5) == {"a": 7, "b": 9}
