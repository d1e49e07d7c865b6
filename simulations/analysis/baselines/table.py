"""The comparison as one typed document: for each row its AUROC by seed and its difference to the home model."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import TypeAdapter
from scipy.stats import t as student

CONFIDENCE = 0.95
HOME = "home"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model.

    Attributes:
        areas: AUROC of test patients within their hospitals, by seed.
        runs: Folder of the run that it was read off, below the comparison's, by seed.
        rival: Row that it is compared with, on the same seeds.
        difference: Mean over seeds less the rival's; None: nothing in common.
        low: Lower paired-t limit at 95 %; None: fewer than three seeds. ``high`` alike.
        passes: How often a training patient was used; None: not counted.
    """

    name: str
    areas: Mapping[int, float] = dataclasses.field(default_factory=dict)
    runs: Mapping[int, str] = dataclasses.field(default_factory=dict)
    rival: str = ""
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    passes: float | None = None
    missing: str = ""

    @property
    def mean(self) -> float | None:
        """Mean AUROC over seeds."""
        return statistics.fmean(self.areas.values()) if self.areas else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds; None: fewer than two."""
        return statistics.stdev(self.areas.values()) if len(self.areas) > 1 else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """One study beside what it should be compared with."""

    schema_version: Literal[1] = 1
    study: str
    data: str
    seeds: tuple[int, ...]
    overrides: tuple[str, ...]
    code: str
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the document as JSON values, means and deviations included."""
        document: dict[str, Any] = TypeAdapter(Baselines).dump_python(self, mode="json")
        for row, told in zip(self.rows, document["rows"], strict=True):
            told |= {"mean": row.mean, "deviation": row.deviation}
        return document


def compared(row: Row, rival: Row) -> Row:
    """Returns the row with its difference to another on the seeds of both (paired t, Student 1908).

    The limits are of seeds: they are too narrow for other patients, since all seeds draw from the same data set.
    """
    differences = [row.areas[seed] - rival.areas[seed] for seed in row.areas if seed in rival.areas]
    if not differences or row.name == rival.name:
        return row
    mean, count = statistics.fmean(differences), len(differences)
    found = dataclasses.replace(row, rival=rival.name, difference=mean)
    if count < 3:
        return found
    reach = float(student.ppf((1 + CONFIDENCE) / 2, count - 1)) * statistics.stdev(differences) / math.sqrt(count)
    return dataclasses.replace(found, low=mean - reach, high=mean + reach)
