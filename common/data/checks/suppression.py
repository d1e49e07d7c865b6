"""Counts that may be told outside: small ones hidden, and those from which a hidden one could be worked out."""

from __future__ import annotations

from collections.abc import Mapping

Told = dict[str, int | None]


def told_rows(rows: Mapping[str, Mapping[str, int]], min_cell: float) -> dict[str, Told]:
    """Returns a table in which None stands for what is not told.

    A row with a cell below ``min_cell`` is hidden as a whole, as its total may be known from elsewhere; and so are the
    smallest other rows until the hidden patients are at least ``min_cell`` together, as the table's total may be known.
    Rows without a patient are told: they hold nobody.
    """
    held = {name: row for name, row in rows.items() if any(row.values())}
    hidden = _with_cover({name: sum(row.values()) for name, row in held.items()}, _small(held, min_cell), min_cell)
    return {
        name: {cell: None if name in hidden else count for cell, count in row.items()} for name, row in rows.items()
    }


def told_cells(cells: Mapping[str, int], min_cell: float) -> Told:
    """Returns the counts of groups that make up a known total; None stands for what is not told.

    Groups below ``min_cell`` are hidden, and the smallest others until two are and hold ``min_cell`` together.
    """
    hidden = _with_cover(cells, {name for name, count in cells.items() if count < min_cell}, min_cell, least=2)
    return {name: None if name in hidden else count for name, count in cells.items()}


def _small(rows: Mapping[str, Mapping[str, int]], min_cell: float) -> set[str]:
    return {name for name, row in rows.items() if min(row.values()) < min_cell}


def _with_cover(sums: Mapping[str, int], hidden: set[str], min_cell: float, least: int = 1) -> set[str]:
    others = sorted((name for name in sums if name not in hidden), key=lambda name: (sums[name], name))
    found = set(hidden)
    while found and others and (len(found) < least or sum(sums[name] for name in found) < min_cell):
        found.add(others.pop(0))
    return found
