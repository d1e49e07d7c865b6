"""Logistic recalibration from score counts: calibration slope and intercept, temperature and Platt scaling."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from common.evaluation.intervals import Floats
from common.evaluation.scores import Counts, ScoreState, bin_edges

_STEPS, _TOLERANCE = 100, 1e-10
_STEEPEST = 50.0
"""A slope beyond this says that the classes are separated: the fit has no finite maximum."""


@dataclasses.dataclass(frozen=True, slots=True)
class Graded:
    """Patients by probability: ``values`` (K,) strictly inside (0, 1), with counts of both classes (K,).

    Attributes:
        reach: How far a patient of a cell may be from its value, (K,).
    """

    values: Floats
    positives: Counts
    negatives: Counts
    reach: Floats

    @classmethod
    def of(cls, state: ScoreState) -> Graded:
        """Returns the occupied bins of a state at their middles."""
        edges = bin_edges(state.bins)
        occupied = np.flatnonzero(state.positives + state.negatives)
        low, high = edges[occupied], edges[occupied + 1]
        return cls((low + high) / 2, state.positives[occupied], state.negatives[occupied], (high - low) / 2)

    @property
    def patients(self) -> int:
        return int(self.positives.sum() + self.negatives.sum())

    @property
    def log_odds(self) -> Floats:
        return np.asarray(np.log(self.values) - np.log1p(-self.values))


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """``logit P(malignant) = intercept + slope * logit(score)`` with standard errors, None where fixed."""

    intercept: float
    slope: float
    intercept_error: float | None
    slope_error: float | None


def together(parts: Sequence[Graded]) -> Graded:
    """Returns the patients of all parts; at least one."""
    return Graded(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in dataclasses.fields(Graded))
    )


def recalibration(graded: Graded, fit: Literal["both", "intercept", "slope"] = "both") -> Line | None:
    """Returns the logistic recalibration by maximum likelihood (Cox, Biometrika 45:562, 1958; Newton's method).

    ``both``: calibration slope and intercept, Platt scaling when fitted on validation. ``intercept``: the slope is 1,
    calibration-in-the-large. ``slope``: the intercept is 0, temperature scaling with temperature 1 / slope.
    None where there is no finite maximum: one class only, separated classes, or all scores alike.
    """
    design = np.stack([np.ones_like(graded.values), graded.log_odds], axis=1)
    free = {"both": [0, 1], "intercept": [0], "slope": [1]}[fit]
    if not graded.positives.sum() or not graded.negatives.sum():
        return None
    if 1 in free and np.ptp(design[:, 1]) == 0:
        return None
    beta = _newton(design, graded.positives, graded.positives + graded.negatives, free)
    if beta is None or abs(beta[1]) > _STEEPEST:
        return None
    errors = np.sqrt(
        np.diag(np.linalg.inv(_information(design, graded.positives + graded.negatives, beta)[free][:, free]))
    )
    named = dict(zip(free, errors.tolist(), strict=True))
    return Line(float(beta[0]), float(beta[1]), named.get(0), named.get(1))


def apply(line: Line, graded: Graded) -> Graded:
    """Returns the patients with recalibrated probabilities; order is kept when the slope is positive.

    ``reach`` follows the mean-value theorem: the recalibrated ends of a cell.
    """
    low, high = (
        _sigmoid(line.intercept + line.slope * _logit(np.clip(graded.values + sign * graded.reach, 1e-9, 1 - 1e-9)))
        for sign in (-1, 1)
    )
    values = _sigmoid(line.intercept + line.slope * graded.log_odds)
    reach = np.maximum(np.abs(high - values), np.abs(values - low))
    return Graded(np.clip(values, 1e-12, 1 - 1e-12), graded.positives, graded.negatives, reach)


def _newton(design: Floats, hits: Counts, patients: Counts, free: list[int]) -> Floats | None:
    beta = np.array([0.0, 1.0 if 1 not in free else 0.0])
    for _ in range(_STEPS):
        gradient = design.T @ (hits - patients * _sigmoid(design @ beta))
        hessian = _information(design, patients, beta)[np.ix_(free, free)]
        if np.linalg.cond(hessian) > 1e14:
            return None
        step = np.linalg.solve(hessian, gradient[free])
        # The likelihood is concave, but a whole step from far away can overshoot.
        longest = float(np.abs(step).max())
        beta[free] += step * (1.0 if longest < 5.0 else 5.0 / longest)
        if longest < _TOLERANCE:
            return beta
    return None


def _information(design: Floats, patients: Counts, beta: Floats) -> Floats:
    p = _sigmoid(design @ beta)
    return np.asarray((design * (patients * p * (1 - p))[:, None]).T @ design)


def _sigmoid(log_odds: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * log_odds)))


def _logit(probability: Floats) -> Floats:
    return np.asarray(np.log(probability) - np.log1p(-probability))
