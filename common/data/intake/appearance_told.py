"""How a site's images look, as it may leave: figures of which two, from before and after one patient, do not tell her.

An exact mean times an exact number, less the same of the day before, is what one woman's picture measures. So the
number is told as a power of two, means lie on a grid of one over it (which is all that a patient with values in [0, 1]
can move a mean by), and the spread is that of the quartiles, which who stands apart does not move.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.data.intake.appearance import by_measure, patient_means

NORMAL_QUARTILES = 1.349
"""Distance of the quartiles of a normal distribution, in standard deviations."""


def told_appearance(patients: Iterable[Sequence[Mapping[str, float]]], min_cell: int) -> dict[str, Any] | None:
    """Returns ``patients``, rounded down to a power of two, and ``mean`` and ``sd`` of each measure on its grid.

    None with fewer than ``min_cell`` patients; a measure that fewer have is left out. ``sd`` is the distance of the
    quartiles as that of a normal distribution.

    Args:
        patients: The measures of each patient's images.
        min_cell: At least 2.
    """
    means = patient_means(patients)
    if len(means) < max(2, min_cell):
        return None
    measures = {}
    for name, values in by_measure(means, min_cell):
        grid = 1 / _power_of_two(len(values))
        measures[name] = {"mean": _on(grid, statistics.mean(values)), "sd": _on(grid, _spread(values))}
    return {"patients": _power_of_two(len(means)), "measures": measures}


def _power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1)


def _spread(values: Sequence[float]) -> float:
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return (upper - lower) / NORMAL_QUARTILES


def _on(grid: float, value: float) -> float:
    return round(value / grid) * grid
