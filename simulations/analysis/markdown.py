"""Rows of figures as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown table, numbers with three significant digits."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def inserted(text: str, part: str, marks: tuple[str, str]) -> str:
    """Returns a page with ``part``, which holds both marks, put where the old one was.

    Raises:
        ValueError: The page has no place for it.
    """
    begin, end = marks
    if begin not in text or end not in text:
        raise ValueError(f"Expected {begin} and {end} in the page")
    return text[: text.index(begin)] + part + text[text.index(end) + len(end) :]
