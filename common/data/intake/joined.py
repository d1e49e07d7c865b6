"""Which rows of a table speak of which image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

ENOUGH = 0.5
"""Share of a column's cells that must name images for it to be the column of images."""
Row = Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """Which rows speak of which image.

    Attributes:
        rows: Image -> its rows, one or more.
        columns: That named the images.
        said: How, in words.
        unused: Rows that speak of no image here.
        ambiguous: Images that a row names together with others, so that it names none.
        dumb: Rows that name several images, and so none.
    """

    rows: Mapping[str, tuple[Row, ...]]
    columns: tuple[str, ...]
    said: str
    unused: int = 0
    ambiguous: int = 0
    dumb: int = 0
