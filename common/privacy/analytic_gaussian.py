"""The exact privacy of Gaussian mechanisms on everybody: no sampling, no approximation.

Full-batch Gaussian mechanisms compose to one (Dong, Roth and Su 2022, corollary 3.3): k mechanisms with noise
multipliers sigma_i have the privacy of one whose sensitivity over noise is mu, with mu^2 the sum of 1 / sigma_i^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

_BISECTIONS = 200
"""More than float64 can tell apart: the search ends where its ends meet."""
_ROUNDING = 1e-9
"""Relative; far above what float64 loses here, and added on the safe side."""


def delta_of(mu: float, epsilon: float) -> float:
    """Returns the least delta in [0, 1] of a Gaussian mechanism with sensitivity over noise ``mu`` > 0.

    Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu) (Balle and Wang 2018, theorem 8).
    """
    from scipy.special import log_ndtr

    first = float(log_ndtr(mu / 2 - epsilon / mu))
    second = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    return max(0.0, math.exp(first) - math.exp(min(second, 0.0)))


def epsilon_of_mu(mu: float, delta: float) -> float:
    """Returns the least epsilon >= 0 at ``delta``, rounded up by a billionth; 0.0 where ``mu`` is 0."""
    if mu == 0 or delta_of(mu, 0.0) <= delta:
        return 0.0
    high = 1.0
    while delta_of(mu, high) > delta:
        high *= 2
    _, epsilon = _bisected(0.0, high, lambda value: delta_of(mu, value) > delta)
    return epsilon * (1 + _ROUNDING)


def mu_of(noise_multipliers: Iterable[tuple[float, int]]) -> float:
    """Returns mu of all mechanisms together; each is a noise multiplier > 0 and how often it ran."""
    return math.sqrt(math.fsum(times / sigma**2 for sigma, times in noise_multipliers))


def largest_mu(epsilon: float, delta: float) -> float:
    """Returns the largest mu whose mechanism stays at or below ``epsilon`` > 0 at ``delta``, rounded down."""
    high = 1.0
    while delta_of(high, epsilon) <= delta:
        high *= 2
    mu, _ = _bisected(0.0, high, lambda value: value == 0 or delta_of(value, epsilon) <= delta)
    return mu * (1 - _ROUNDING)


def _bisected(low: float, high: float, below: Callable[[float], bool]) -> tuple[float, float]:
    """Returns two neighbouring numbers between which ``below`` turns from true to false."""
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if below(middle) else (low, middle)
    return low, high
