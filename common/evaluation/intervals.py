"""Confidence intervals for rates and for the area under the ROC curve, from counts alone.

Wilson's score interval for a proportion; DeLong's variance on the log-odds scale for an AUROC; Newcombe's
method 5 where DeLong's variance says nothing (AUROC of exactly 0 or 1) or rests on too few patients.
An interval covers the chance of drawing these patients, not the choice of hospitals nor the training seed.
"""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import ConfigError

Floats = NDArray[np.float64]
_BISECTIONS = 60
"""2**-60 of the unit interval: below float64 resolution near 1."""


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """An estimate in [0, 1] with its confidence limits."""

    value: float
    low: float
    high: float
    method: Literal["Wilson", "DeLong", "Newcombe"]


def z_of(confidence: float) -> float:
    """Returns the two-sided normal quantile of a confidence, 1.96 for 0.95.

    Raises:
        ConfigError: The confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"Expected a confidence between 0 and 1, got {confidence}: set evaluation.confidence.")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(successes: float, total: int, confidence: float = 0.95) -> Interval | None:
    """Returns a proportion with its Wilson score interval; None when ``total`` is 0.

    Wilson, JASA 22:209 (1927); formula as in Newcombe, Stat Med 17:857 (1998), method 3.
    """
    if total == 0:
        return None
    z2 = z_of(confidence) ** 2
    rate = successes / total
    centre = (successes + z2 / 2) / (total + z2)
    spread = math.sqrt(z2 * (z2 / 4 + successes * (1 - rate))) / (total + z2)
    # At 0 and at `total` the limit is the estimate itself; rounding must not move it past that.
    low = 0.0 if successes == 0 else max(0.0, centre - spread)
    high = 1.0 if successes == total else min(1.0, centre + spread)
    return Interval(rate, low, high, "Wilson")


def logit_limits(value: Floats, variance: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Returns the limits of estimates strictly inside (0, 1), symmetric in log-odds, so they stay inside.

    Delta method: the variance of ``logit(A)`` is ``var(A) / (A (1 - A))**2`` (Pepe 2003, section 5.2.4).
    """
    centre = np.log(value / (1 - value))
    spread = z_of(confidence) * np.sqrt(variance) / (value * (1 - value))
    return 1 / (1 + np.exp(spread - centre)), 1 / (1 + np.exp(-spread - centre))


def newcombe_auroc(value: float, positives: int, negatives: int, confidence: float = 0.95) -> Interval:
    """Returns an AUROC with the interval of Newcombe, Stat Med 25:559 (2006), method 5.

    The limits are the areas A that lie ``z`` of their own standard errors from the estimate, where
    ``var(A) = A (1 - A) (1 + N (1 - A) / (2 - A) + N A / (1 + A)) / (m n)`` with ``N = (m + n) / 2 - 1``
    (Hanley and McNeil's variance, made symmetric). Like Wilson's, it does not collapse at 0 and 1.
    """
    low = 0.0 if value <= 0 else _newcombe_limit(value, 0.0, positives, negatives, confidence)
    high = 1.0 if value >= 1 else _newcombe_limit(value, 1.0, positives, negatives, confidence)
    return Interval(value, low, high, "Newcombe")


def _newcombe_limit(value: float, bound: float, positives: int, negatives: int, confidence: float) -> float:
    z2 = z_of(confidence) ** 2
    inner, outer = value, bound
    for _ in range(_BISECTIONS):
        middle = 0.5 * (inner + outer)
        if (middle - value) ** 2 < z2 * _newcombe_variance(middle, positives, negatives):
            inner = middle
        else:
            outer = middle
    return outer


def _newcombe_variance(area: float, positives: int, negatives: int) -> float:
    half = (positives + negatives) / 2 - 1
    shape = 1 + half * (1 - area) / (2 - area) + half * area / (1 + area)
    return area * (1 - area) * shape / (positives * negatives)
