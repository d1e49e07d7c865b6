"""What an attack that was measured says of epsilon, and what a check that was measured says of the mechanism.

The mathematics of ``oncofed-sim audit``: nothing here trains. A lower bound from canaries can refute a claim of
privacy and never prove one; see ``docs/audit.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import ConfigError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
GUESS_SHARES = (0.1, 0.25, 0.5, 1.0)
"""Shares of the canaries that are guessed; fixed before any score is seen, and paid for by Bonferroni."""
_BISECTIONS = 40


@dataclass(frozen=True, slots=True)
class Check:
    """One named property of the mechanism, measured on the running code.

    Attributes:
        measured: What was found, in words for people.
        expected: What must be found for the guarantee to hold.
    """

    name: str
    passed: bool
    measured: str
    expected: str


@dataclass(frozen=True, slots=True)
class CanaryBound:
    """What guessing the canaries of one run says.

    Attributes:
        canaries: Canaries, each in the training data by a fair coin.
        guesses: Canaries on which the attacker committed to a guess.
        correct: Guesses that were right.
        epsilon: Lower bound: with ``confidence``, the mechanism is not (e, delta)-DP for any e below it.
    """

    canaries: int
    guesses: int
    correct: int
    epsilon: float
    delta: float
    confidence: float


def p_value(*, canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Returns a bound on the probability of so many correct guesses if the mechanism is (epsilon, delta)-DP.

    Steinke, Nasr, Jagielski (2023), theorem 5.2 and the code of appendix D: with ``f(v) = P[Binomial(r, q) >= v]``,
    ``q = e^epsilon / (1 + e^epsilon)``, at most ``f(v) + 2 m delta max_i (f(v - i) - f(v)) / i``.
    Neighbours differ by adding or removing one patient; each canary was included by a fair coin.

    Raises:
        ValueError: Not 0 <= correct <= guesses <= canaries, or epsilon or delta out of range.
    """
    from scipy.stats import binom

    if not 0 <= correct <= guesses <= canaries:
        raise ValueError(f"Expected 0 <= correct <= guesses <= canaries, got {correct}, {guesses}, {canaries}")
    if epsilon < 0 or not 0 <= delta <= 1:
        raise ValueError(f"Expected epsilon >= 0 and 0 <= delta <= 1, got {epsilon}, {delta}")
    accuracy = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(correct - 1, guesses, accuracy))
    if correct == 0:
        return 1.0
    below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, accuracy))
    slope = float(np.max(below / np.arange(1, correct + 1)))
    return min(1.0, tail + 2 * canaries * delta * slope)


def epsilon_lower_bound(*, canaries: int, guesses: int, correct: int, delta: float, confidence: float) -> float:
    """Returns the largest epsilon, >= 0, that so many correct guesses refute with ``confidence``.

    Steinke et al. (2023), appendix D; the value is rounded down to the last of 40 bisections.
    """
    alpha = 1 - confidence
    if not 0 < alpha < 1:
        raise ValueError(f"Expected 0 < confidence < 1, got {confidence}")

    def refuted(epsilon: float) -> bool:
        found = p_value(canaries=canaries, guesses=guesses, correct=correct, epsilon=epsilon, delta=delta)
        return found < alpha

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high):
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def canary_bound(
    scores: Floats, included: Bools, *, delta: float, confidence: float = 0.95, shares: Sequence[float] = GUESS_SHARES
) -> CanaryBound:
    """Returns the best bound over the shares of canaries guessed, with ``confidence`` for all of them together.

    The highest scores are guessed to be in, as many of the lowest out (Steinke et al. 2023, algorithm 1). Trying
    several numbers of guesses and keeping the best is paid for: each gets its part of 1 - ``confidence``.

    Args:
        scores: (m,), higher for canaries that seem to be in the training data; must not depend on ``included``.
        included: (m,), the coins.
        delta: The delta of the claim.
        confidence: In (0, 1).
        shares: Shares of m to guess, in (0, 1].

    Raises:
        ConfigError: There are fewer than 2 canaries, or a score is not finite.
    """
    canaries = len(scores)
    if canaries < 2 or scores.shape != included.shape or not np.isfinite(scores).all():
        raise ConfigError(f"Expected finite scores of at least 2 canaries, got {canaries}; choose more canaries")
    each = 1 - (1 - confidence) / len(shares)
    bounds = []
    for half in sorted({max(1, int(share * canaries / 2)) for share in shares}):
        order = np.argsort(scores, kind="stable")
        correct = int((~included[order[:half]]).sum() + included[order[-half:]].sum())
        low = epsilon_lower_bound(canaries=canaries, guesses=2 * half, correct=correct, delta=delta, confidence=each)
        bounds.append(CanaryBound(canaries, 2 * half, correct, low, delta, confidence))
    return max(bounds, key=lambda bound: bound.epsilon)


def most_possible(*, canaries: int, delta: float, confidence: float = 0.95) -> float:
    """Returns the bound if every guess of all canaries were right: the most that so few canaries can show."""
    return canary_bound(
        np.arange(canaries, dtype=np.float64),
        np.arange(canaries) >= canaries / 2,
        delta=delta,
        confidence=confidence,
    ).epsilon


def noise_check(name: str, drawn: Floats, expected: float) -> Check:
    """Returns whether values have mean 0 and the expected standard deviation, within five standard errors.

    Args:
        name: Name of the check.
        drawn: Independent values, (N,).
        expected: Standard deviation that the plan says.
    """
    count = drawn.size
    found = float(np.sqrt(np.mean(drawn.astype(np.float64) ** 2))) if count else math.nan
    slack = 5 / math.sqrt(2 * max(count, 1)) + 1e-3
    passed = bool(abs(found / expected - 1) <= slack)
    return Check(
        name, passed, f"standard deviation {found:.4g} over {count} values", f"{expected:.4g} within {slack:.1%}"
    )


def gaussian_estimate(scores: Floats, included: Bools, delta: float, errors: float = 0.0) -> float:
    """Returns the epsilon of a Gaussian mechanism that would separate the scores so: an estimate, not a bound.

    mu is the difference of the means over the pooled standard deviation, less ``errors`` of its standard errors;
    for DP-SGD it stays below the mu of Bu et al. (2020), whose epsilon is below the exact one. Epsilon at delta is by
    Balle and Wang (2018), theorem 8. nan when one side has fewer than two canaries.
    """
    inside, outside = scores[included], scores[~included]
    if min(len(inside), len(outside)) < 2:
        return math.nan
    variances = inside.var(ddof=1), outside.var(ddof=1)
    spread = math.sqrt(sum(variances) / 2)
    gap = float(inside.mean() - outside.mean())
    if spread == 0:
        return math.inf if gap > 0 else 0.0
    mu = gap / spread
    square = (variances[0] / len(inside) + variances[1] / len(outside)) / spread**2 + mu**2 / (2 * len(scores))
    return gaussian_epsilon(max(0.0, mu - errors * math.sqrt(square)), delta)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Returns the epsilon of the Gaussian mechanism with sensitivity over noise ``mu`` at ``delta``.

    Balle and Wang (2018), theorem 8: delta(e) = Phi(mu/2 - e/mu) - exp(e) Phi(-mu/2 - e/mu).
    """
    from scipy.stats import norm

    if mu <= 0:
        return 0.0

    def exceeds(epsilon: float) -> bool:
        lost = math.exp(epsilon + float(norm.logcdf(-mu / 2 - epsilon / mu)))
        return float(norm.cdf(mu / 2 - epsilon / mu)) - lost > delta

    low, high = 0.0, 1.0
    while exceeds(high):
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(middle) else (low, middle)
    return high if exceeds(0.0) else 0.0


def attack_ceiling(epsilon: float, delta: float) -> float:
    """Returns the largest area under the ROC curve that a membership attack on (epsilon, delta)-DP can have.

    The area under the curve of Kairouz et al. (2015), theorem 2.1: 1 - (1 - delta)^2 / (1 + e^epsilon).
    """
    return 1 - (1 - delta) ** 2 / (1 + math.exp(epsilon))
