"""What joining gave hospitals of this size on public data, for those who have not joined yet.

The figures are in ``joining.json`` beside this file; ``python -m simulations.analysis.joining`` makes it, and
docs/joining.md shows the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from common.config.study import StudyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Means over hospitals of one size in consortia of one size; areas are AUROC on patients of no hospital.

    Attributes:
        patients: Training patients of each hospital; ``sites``: how many hospitals.
        epsilon: Of the study; ``mode``: where its noise is made.
        hospitals: How many hospitals were looked at, in so many random ``divisions`` of the data.
        public: Of the public checkpoint as it came.
        home: Of what a hospital makes by itself.
        federated: Of the shared model; ``both``: of what a hospital chooses with both.
        gain: Mean of both less home; nine of ten hospitals lie within ``low`` and ``high``.
        error: Standard error of the gain over the divisions.
        lost: Share in [0, 1] of the hospitals that are more than 0.01 below home.
    """

    patients: int
    sites: int
    epsilon: float
    mode: Literal["local", "distributed"]
    hospitals: int
    divisions: int
    public: float
    home: float
    federated: float
    both: float
    gain: float
    low: float
    high: float
    error: float
    lost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The consortia of one public data set."""

    name: str
    title: str
    checkpoint: str
    cells: tuple[Measured, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All that was measured."""

    schema_version: Literal[1]
    made_by: str
    sources: tuple[Source, ...]


@cache
def measured() -> Table:
    """Returns the table that this package carries."""
    from pydantic import TypeAdapter

    text = files("client.site").joinpath("joining.json").read_text(encoding="utf-8")
    return TypeAdapter(Table).validate_json(text)


def nearest(cells: Sequence[Measured], patients: int, sites: int, epsilon: float) -> Measured:
    """Returns the cell whose sizes and epsilon are the fewest factors of e away, the first of equals.

    Raises:
        ValueError: There is no cell.
    """

    def away(cell: Measured) -> float:
        pairs = ((cell.patients, patients), (cell.sites, sites), (cell.epsilon, epsilon))
        return sum(abs(math.log(one / other)) for one, other in pairs)

    return min(cells, key=away)


def joining(study: StudyConfig, patients: int) -> list[dict[str, Any]] | None:
    """Returns of each public data set what the hospitals most like this one gained; None: no such training was tried.

    Each row has the fields of :class:`Measured` and the data set's ``title``.
    """
    from dataclasses import asdict

    if study.training.method != "statistics" or not study.privacy.private:
        return None
    sites = study.training.statistics.sites
    found = []
    for source in measured().sources:
        alike = [cell for cell in source.cells if cell.mode == study.privacy.mode]
        found.append({"title": source.title} | asdict(nearest(alike, patients, sites, study.privacy.epsilon)))
    return found


def joining_text(rows: Sequence[dict[str, Any]] | None) -> str:
    """Returns the sentences of a forecast."""
    if rows is None:
        return "What joining gives was not measured for this kind of training before anybody joined."
    last = "Other patients, scanners and checkpoints gain more or less, so take this as a hint: docs/joining.md."
    return " ".join(["What joining gave on public data:", *(_sentences(row) for row in rows), last])


def _sentences(row: dict[str, Any]) -> str:
    areas = f"AUROC {row['home']:.2f} at home, {row['federated']:.2f} federated, {row['both']:.2f} with both"
    gain = f"{row['gain']:+.3f} in the mean, {row['low']:+.3f} to {row['high']:+.3f} for nine hospitals of ten"
    return (
        f"{row['title']}, {row['sites']} hospitals of {row['patients']} patients at epsilon {row['epsilon']:g} (the "
        f"nearest that was tried): {areas}; a gain of {gain}; {row['lost']:.0%} lost more than 0.01. A hospital "
        f"without labels would have {row['federated']:.2f} in place of the public checkpoint's {row['public']:.2f}."
    )
