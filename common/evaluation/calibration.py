"""Are the probabilities right? Brier score, calibration error and reliability, before and after recalibration.

A bin's patients are taken to score in its middle, so every figure has an error of binning; the bounds are proved beside
the functions. Recalibration is fitted to counts too: the hub can do it from the validation states it has, and nothing
more leaves a site.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from common.evaluation.intervals import z_of
from common.evaluation.recalibration import Graded, Line, apply, recalibration
from common.evaluation.scores import ScoreState, nearest_edge

NOTHING: dict[str, float | None] = {"value": None, "low": None, "high": None}
GROUPS = 10
"""Reliability groups, about equally wide in probability."""


def brier(graded: Graded) -> float | None:
    """Returns the mean of ``(score - label)**2``; None for nobody. Brier, Mon Weather Rev 78:1 (1950)."""
    if not graded.patients:
        return None
    total = graded.positives @ (1 - graded.values) ** 2 + graded.negatives @ graded.values**2
    return float(total / graded.patients)


def brier_error(graded: Graded) -> float:
    """Returns a bound on the binning error of :func:`brier`.

    With p within h of the middle m, ``|(p - y)**2 - (m - y)**2| = |p - m| |p + m - 2 y| <= h (2 |m - y| + h)``.
    """
    m, h = graded.values, graded.reach
    total = graded.positives @ (h * (2 * (1 - m) + h)) + graded.negatives @ (h * (2 * m + h))
    return float(total / max(1, graded.patients))


def reliability(graded: Graded, bins: int, groups: int = GROUPS) -> dict[str, list[float]]:
    """Returns the reliability diagram: of each occupied group ``low``, ``high``, ``patients``, ``score``, ``observed``.

    Groups end at the bin edges nearest to equal steps of probability; ``score`` is the mean score and ``observed``
    the share of malignant patients.
    """
    cuts = np.array([nearest_edge(step / groups, bins) for step in range(groups + 1)])
    of_cell = np.clip(np.searchsorted(cuts, graded.values, side="right") - 1, 0, groups - 1)
    patients, malignant, scores = (
        np.bincount(of_cell, weights=weights, minlength=groups)
        for weights in (
            graded.positives + graded.negatives,
            graded.positives,
            graded.values * (graded.positives + graded.negatives),
        )
    )
    occupied = patients > 0
    n = patients[occupied]
    return {
        "low": cuts[:-1][occupied].tolist(),
        "high": cuts[1:][occupied].tolist(),
        "patients": n.astype(int).tolist(),
        "score": (scores[occupied] / n).tolist(),
        "observed": (malignant[occupied] / n).tolist(),
    }


def ece(diagram: dict[str, list[float]]) -> float | None:
    """Returns the expected calibration error of a reliability diagram: the mean of ``|score - observed|`` by patients.

    Naeini, Cooper and Hauskrecht, AAAI 2015, equation 3. Grows with fewer patients even for a perfect model. The
    binning error is at most the mean :attr:`Graded.reach`: groups end at bin edges, so only the mean scores move.
    """
    patients = np.asarray(diagram["patients"], dtype=np.float64)
    if not patients.size:
        return None
    return float(np.abs(np.subtract(diagram["score"], diagram["observed"])) @ patients / patients.sum())


def ece_error(graded: Graded) -> float:
    """Returns the bound on the binning error of :func:`ece`."""
    return float((graded.positives + graded.negatives) @ graded.reach / max(1, graded.patients))


def log_loss_of(graded: Graded) -> float | None:
    """Returns the mean negative log-likelihood of the labels in nats; None for nobody."""
    if not graded.patients:
        return None
    total = graded.positives @ np.log(graded.values) + graded.negatives @ np.log1p(-graded.values)
    return float(-total / graded.patients)


def summarise_calibration(state: ScoreState, confidence: float) -> dict[str, Any]:
    """Returns brier, ece, calibration and reliability as ``evaluation.json`` has them."""
    graded = Graded.of(state)
    diagram = reliability(graded, state.bins)
    line, large = recalibration(graded), recalibration(graded, "intercept")
    return {
        "brier": {"value": brier(graded), "binning_error": brier_error(graded)},
        "ece": {"value": ece(diagram), "binning_error": ece_error(graded), "groups": GROUPS},
        "calibration": {
            "slope": wald(line.slope, line.slope_error, confidence) if line else NOTHING,
            "intercept": wald(line.intercept, line.intercept_error, confidence) if line else NOTHING,
            "in_the_large": wald(large.intercept, large.intercept_error, confidence) if large else NOTHING,
        },
        "reliability": diagram,
    }


def after_recalibration(test: ScoreState, validation: ScoreState) -> dict[str, Any]:
    """Returns what temperature and Platt scaling, fitted on validation patients, do to the test patients' figures.

    Guo et al., ICML 2017, section 4; Platt 1999. ``none`` is the score as it came. A method is null where its fit has
    no finite maximum or would turn the order of scores around.
    """
    scores, fitted_on = Graded.of(test), Graded.of(validation)
    lines: dict[str, Line | None] = {
        "none": Line(0.0, 1.0, None, None),
        "temperature": recalibration(fitted_on, "slope"),
        "platt": recalibration(fitted_on, "both"),
    }
    return {
        "validation_patients": fitted_on.patients,
        **{name: _figures(line, scores, test.bins) for name, line in lines.items()},
    }


def wald(value: float, error: float | None, confidence: float) -> dict[str, float | None]:
    """Returns value, low and high of an estimate with a normal interval."""
    if error is None:
        return {"value": value, "low": None, "high": None}
    return {"value": value, "low": value - z_of(confidence) * error, "high": value + z_of(confidence) * error}


def _figures(line: Line | None, scores: Graded, bins: int) -> dict[str, float | None] | None:
    if line is None or line.slope <= 0:
        return None
    graded = apply(line, scores)
    return {
        "intercept": line.intercept,
        "slope": line.slope,
        "brier": brier(graded),
        "log_loss": log_loss_of(graded),
        "ece": ece(reliability(graded, bins)),
    }
