"""Are the probabilities right? Brier score, calibration error and reliability, before and after recalibration.

A bin's patients are taken to score in its middle, so every figure has an error of binning; the bounds are proved beside
the functions. Recalibration is fitted to counts too: the hub can do it from the validation states it has, and nothing
more leaves a site.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from common.evaluation.intervals import z_of
from common.evaluation.recalibration import Graded, Line, apply, recalibration, together
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

    Naeini, Cooper and Hauskrecht, AAAI 2015. Grows with fewer patients even for a perfect model. The
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


METHODS: Mapping[str, Literal["none", "slope", "both"]] = {"none": "none", "temperature": "slope", "platt": "both"}


def recalibrated(test: Mapping[str, ScoreState], validation: Mapping[str, ScoreState]) -> dict[str, Any]:
    """Returns what recalibration at each site, fitted on its validation patients, does to its test patients' figures.

    ``sites.NAME`` holds ``validation_patients`` and for each of ``none`` (the score as it came), ``temperature``
    (Guo et al., ICML 2017, section 4) and ``platt`` (Platt 1999) the line ``intercept``, ``slope`` with ``brier``,
    ``log_loss`` and ``ece``; null where the fit has no finite maximum or would turn the order of scores around.
    ``pooled`` holds the same figures over all sites, where every site has the method.
    """
    lines = {site: _lines(validation.get(site)) for site in test}
    moved: dict[str, dict[str, Graded]] = {name: {} for name in METHODS}
    sites: dict[str, Any] = {}
    for site, state in test.items():
        fitted = validation.get(site)
        sites[site] = {"validation_patients": fitted.patients if fitted else 0}
        for name, line in lines[site].items():
            sites[site][name] = None
            if line is not None:
                moved[name][site] = apply(line, Graded.of(state))
                sites[site][name] = {"intercept": line.intercept, "slope": line.slope}
                sites[site][name] |= _figures(moved[name][site], state.bins)
    bins = next(iter(test.values())).bins
    everywhere = {name: parts for name, parts in moved.items() if len(parts) == len(test)}
    pooled = {name: _figures(together(list(parts.values())), bins) for name, parts in everywhere.items()}
    return {"sites": sites, "pooled": dict.fromkeys(METHODS) | pooled}


def released(test: ScoreState, validation: ScoreState | None, confidence: float) -> dict[str, Any]:
    """Returns the recalibration that goes with the released model, and what it does to all test patients' figures.

    Platt scaling on the pooled validation patients of the chosen round (Platt 1999): post-processing of counts that the
    hub has, the same for every site, and the order of scores stays. ``method`` is ``platt``, or ``none`` with intercept
    0 and slope 1 where the fit has no finite maximum or would turn the order around. ``calibration`` as
    :func:`summarise_calibration` has it, ``brier``, ``log_loss`` and ``ece`` are those after it.
    """
    fitted = _lines(validation)["platt"]
    line = fitted or Line(0.0, 1.0, None, None)
    moved = apply(line, Graded.of(test))
    again, large = recalibration(moved), recalibration(moved, "intercept")
    return {
        "method": "platt" if fitted else "none",
        "intercept": line.intercept,
        "slope": line.slope,
        "validation_patients": validation.patients if validation else 0,
        **_figures(moved, test.bins),
        "calibration": {
            "slope": wald(again.slope, again.slope_error, confidence) if again else NOTHING,
            "intercept": wald(again.intercept, again.intercept_error, confidence) if again else NOTHING,
            "in_the_large": wald(large.intercept, large.intercept_error, confidence) if large else NOTHING,
        },
    }


def recalibrated_probability(score: float, intercept: float, slope: float) -> float:
    """Returns ``1 / (1 + exp(-(intercept + slope log(score / (1 - score)))))``; 0 and 1 stay."""
    if score in (0.0, 1.0):
        return score
    log_odds = intercept + slope * (math.log(score) - math.log1p(-score))
    return 0.5 * (1 + math.tanh(0.5 * log_odds))


def wald(value: float, error: float | None, confidence: float) -> dict[str, float | None]:
    """Returns value, low and high of an estimate with a normal interval."""
    if error is None:
        return {"value": value, "low": None, "high": None}
    return {"value": value, "low": value - z_of(confidence) * error, "high": value + z_of(confidence) * error}


def _lines(validation: ScoreState | None) -> dict[str, Line | None]:
    found: dict[str, Line | None] = {}
    for name, fit in METHODS.items():
        if fit == "none":
            found[name] = Line(0.0, 1.0, None, None)
            continue
        line = None if validation is None else recalibration(Graded.of(validation), fit)
        found[name] = line if line is not None and line.slope > 0 else None
    return found


def _figures(graded: Graded, bins: int) -> dict[str, float | None]:
    return {"brier": brier(graded), "log_loss": log_loss_of(graded), "ece": ece(reliability(graded, bins))}
