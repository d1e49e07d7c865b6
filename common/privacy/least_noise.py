"""The least noise whose cost stays below a limit, with few looks at a cost that takes long to compute."""

from __future__ import annotations

import math
from collections.abc import Callable

PRECISION = 1e-3
"""Relative width at which the search stops."""
MAX_NOISE, LEAST_NOISE = 1e4, 1e-2
_BESIDE = 3e-4
"""How far beside the interpolated answer a look is taken, relative: closer than the search's own precision."""


class Falling:
    """A cost that falls with the noise: what is known of two amounts tells of all below the one and above the other."""

    def __init__(self, cost: Callable[[float], float], limit: float) -> None:
        self._cost, self._limit = cost, limit
        self._seen: dict[float, float] = {}
        self._fails, self._holds = 0.0, math.inf

    def holds(self, noise: float) -> bool:
        """Returns whether so much noise costs at most the limit."""
        if noise <= self._fails or noise >= self._holds:
            return noise >= self._holds
        value = self._seen[noise] = self._cost(noise)
        if value <= self._limit:
            self._holds = noise
        else:
            self._fails = noise
        return value <= self._limit

    def narrow(self) -> None:
        """Looks on both sides of where a power law through the two nearest costs crosses the limit."""
        if not 0 < self._fails < self._holds < math.inf:
            return
        fails, holds = self._seen[self._fails], self._seen[self._holds]
        if not 0 < holds < fails < math.inf:
            return
        share = math.log(fails / self._limit) / math.log(fails / holds)
        between = self._fails * (self._holds / self._fails) ** share
        for side in (1 + _BESIDE, 1 - _BESIDE):
            self.holds(between * side)


def least_noise(cost: Callable[[float], float], limit: float, start: float, step: float) -> float | None:
    """Returns the least noise, to 0.1 %, that costs at most ``limit``; None: none up to 10,000 does.

    It is the last upper end of halving the interval that ``start`` and ``step`` lead to, bit by bit, and its own cost
    was looked at: where costs do not fall, every half is looked at instead.
    """
    found = _halved(Falling(cost, limit), start, step)
    return found if found is None or cost(found) <= limit else _halved(_Looking(cost, limit), start, step)


class _Looking(Falling):
    """Takes nothing for known."""

    def holds(self, noise: float) -> bool:
        return self._cost(noise) <= self._limit

    def narrow(self) -> None:
        return None


def _halved(cost: Falling, start: float, step: float) -> float | None:
    low, high = start, start * step
    while not cost.holds(high):
        low, high = high, high * step
        if high > MAX_NOISE:
            return None
    while cost.holds(low):
        low, high = low / step, low
        if low < LEAST_NOISE:
            return high
    cost.narrow()
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (low, middle) if cost.holds(middle) else (middle, high)
    return high
