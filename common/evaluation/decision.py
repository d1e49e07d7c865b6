"""Where to call a patient malignant, and what such calls are worth: operating threshold and net benefit."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import numpy as np

from common.evaluation.scores import ScoreState, bin_edges, nearest_edge

FALLBACK = 0.5
"""The threshold where validation cannot choose one."""
CURVE = tuple(round(0.01 * step, 2) for step in range(1, 100))
How = Literal["fixed by the study", "Youden on validation", "fallback: validation cannot choose"]
HOW: tuple[str, ...] = get_args(How)


@dataclasses.dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The threshold in use, a bin edge, and how it came about; fixed before the test is opened.

    Attributes:
        youden: Sensitivity + specificity - 1 on the validation patients that chose it; None when nothing was chosen.
        patients: How many validation patients that were.
    """

    threshold: float
    how: How
    youden: float | None = None
    patients: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns the point as JSON."""
        return dataclasses.asdict(self)


def operating_point(asked: float | Literal["auto"], validation: ScoreState | None, bins: int) -> OperatingPoint:
    """Returns the threshold of a study: the number it asks for, or the best on validation patients.

    Best is the largest sensitivity + specificity (Youden, Cancer 3:32, 1950). Scores leave gaps, so many edges are
    equally good; the middle of the longest run of them is taken, furthest from any validation patient. 0.5 where
    validation holds one class only or no threshold is better than chance.
    """
    if asked != "auto":
        return OperatingPoint(nearest_edge(asked, bins), "fixed by the study")
    fallback = OperatingPoint(nearest_edge(FALLBACK, bins), "fallback: validation cannot choose")
    if validation is None or not validation.malignant or not validation.benign:
        return fallback
    missed = np.concatenate([[0], np.cumsum(validation.positives)])
    cleared = np.concatenate([[0], np.cumsum(validation.negatives)])
    # In whole numbers, so that equal is equal.
    merit = cleared * validation.malignant - missed * validation.benign
    if merit.max() <= 0:
        return fallback
    best = np.flatnonzero(merit == merit.max())
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    longest = max(runs, key=len)
    edge = float(bin_edges(bins)[longest[len(longest) // 2]])
    youden = float(merit.max()) / (validation.malignant * validation.benign)
    return OperatingPoint(edge, "Youden on validation", youden, validation.patients)


def net_benefit(state: ScoreState) -> dict[str, list[float]]:
    """Returns the decision curve: net benefit a patient of following the model, and of calling everybody malignant.

    ``tp / n - fp / n * t / (1 - t)`` at the threshold t (Vickers and Elkin, Med Decis Making 26:565, 2006, equation 1);
    calling nobody malignant is 0. Thresholds are the bin edges nearest to 0.01, 0.02, .. 0.99. Empty for nobody.
    """
    if not state.patients:
        return {"threshold": [], "model": [], "all": []}
    edges = bin_edges(state.bins)
    used = np.unique([nearest_edge(step, state.bins) for step in CURVE])
    used = used[(used > 0) & (used < 1)]
    first = np.searchsorted(edges, used)
    hits = state.malignant - np.concatenate([[0], np.cumsum(state.positives)])[first]
    alarms = state.benign - np.concatenate([[0], np.cumsum(state.negatives)])[first]
    odds = used / (1 - used)
    return {
        "threshold": used.tolist(),
        "model": ((hits - alarms * odds) / state.patients).tolist(),
        "all": ((state.malignant - state.benign * odds) / state.patients).tolist(),
    }
