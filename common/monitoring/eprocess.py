"""Is a rate of errors above what is tolerated? A bet against it, whose wealth may be looked at after each case.

Podkopaev and Ramdas, "Tracking the risk of a deployed model and detecting harmful distribution shifts", ICLR 2022
(arXiv 2110.06177), section 2, with the bets of Waudby-Smith and Ramdas, JRSS-B 86:1 (2024), section 4.

With errors x_t in {0, 1} and a tolerated rate p0, ``K *= 1 + lambda_t (x_t - p0)`` with lambda_t >= 0 that is known
before x_t does not grow in the mean while the rate is at most p0. By Ville's inequality it reaches 1 / alpha with a
probability of at most alpha, ever. So does the sum used here: the unit of wealth is put into play bit by bit, the share
``1 / (t (t + 1))`` at case t, so that what was lost before a change is not all there is to win with after it (the
mixture over times of change in Shin, Ramdas and Rinaldo, arXiv 2203.03532, section 3, with weights that add to 1).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from common.errors import ConfigError

MEMORIES = (math.inf, 100.0)
"""Two bettors share the wealth: one estimates the rate from all cases, one from about the latest hundred."""
PRIOR = 4.0
"""Cases at the tolerated rate that an estimate begins with."""


@dataclasses.dataclass(frozen=True, slots=True)
class Betting:
    """The wealth after each case.

    Attributes:
        wealth: (T,), at least 0; before the first case it is 1.
        alarm: Number (from 1) of the first case at which it reached 1 / alpha; None: it never did.
    """

    wealth: tuple[float, ...]
    alarm: int | None

    @property
    def evidence(self) -> float:
        """The largest wealth so far, at least 1: 1 / evidence bounds the probability that the rate is tolerable."""
        return max(1.0, *self.wealth) if self.wealth else 1.0


def bet(errors: Sequence[int], tolerated: float, alpha: float) -> Betting:
    """Returns the wealth of a bet that errors are more frequent than is tolerated.

    While each error has a probability of at most ``tolerated`` given all before it, the probability that this alarms at
    any time is at most ``alpha``, whenever and however often it is looked at.

    Args:
        errors: 0 or 1, in the order in which they became known.
        tolerated: Rate in (0, 1).
        alpha: In (0, 1).

    Raises:
        ConfigError: An argument is out of its range.
    """
    _check(tolerated, alpha)
    bettors = [_Bettor(tolerated, memory) for memory in MEMORIES]
    wealth: list[float] = []
    alarm = None
    for case, error in enumerate(errors, start=1):
        if error not in (0, 1):
            raise ConfigError(f"Expected an error as 0 or 1, got {error!r}")
        wealth.append(sum(bettor.after(case, error) for bettor in bettors) / len(bettors))
        if alarm is None and wealth[-1] >= 1 / alpha:
            alarm = case
    return Betting(tuple(wealth), alarm)


class _Bettor:
    """Bets lambda = (p - p0) / (p0 (1 - p0)), which is Kelly's for a rate of p (Kelly 1956); p from the past only."""

    def __init__(self, tolerated: float, memory: float) -> None:
        self._tolerated, self._keeps = tolerated, 1 - 1 / memory
        self._errors, self._cases, self._played = 0.0, 0.0, 0.0

    def after(self, case: int, error: int) -> float:
        rate = (PRIOR * self._tolerated + self._errors) / (PRIOR + self._cases)
        stake = max(0.0, rate - self._tolerated) / (self._tolerated * (1 - self._tolerated))
        self._played = (self._played + 1 / (case * (case + 1))) * (1 + stake * (error - self._tolerated))
        self._errors, self._cases = self._keeps * self._errors + error, self._keeps * self._cases + 1
        return self._played + 1 / (case + 1)


def smallest_rate(cases: int, tolerated: float, alpha: float, power: float = 0.8) -> float | None:
    """Returns about the smallest true rate that so many cases show with the power; None: no rate up to 1 would.

    The bettor who sees all wins at least ``n kl(p, p0)`` in the mean less ``log(n) / 2 + 1`` for learning p (Krichevsky
    and Trofimov 1981, up to its constant) and ``log 4`` for the shares in play, with the variance of a sum of n cases.
    """
    _check(tolerated, alpha)
    needed = math.log(4 / alpha) + 0.5 * math.log(max(1, cases)) + 1
    if _surely_won(1 - 1e-9, tolerated, cases, power) < needed:
        return None
    low, high = tolerated, 1 - 1e-9
    for _ in range(50):
        middle = (low + high) / 2
        enough = _surely_won(middle, tolerated, cases, power) >= needed
        low, high = (low, middle) if enough else (middle, high)
    return high


def _surely_won(rate: float, tolerated: float, cases: int, power: float) -> float:
    from statistics import NormalDist

    hit, miss = math.log(rate / tolerated), math.log((1 - rate) / (1 - tolerated))
    mean, spread = rate * hit + (1 - rate) * miss, math.sqrt(rate * (1 - rate)) * (hit - miss)
    return cases * mean - NormalDist().inv_cdf(power) * math.sqrt(cases) * spread


def _check(tolerated: float, alpha: float) -> None:
    if not 0 < tolerated < 1 or not 0 < alpha < 1:
        raise ConfigError(f"Expected a tolerated rate and an alpha between 0 and 1, got {tolerated} and {alpha}")
