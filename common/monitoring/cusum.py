"""Did the mean of a score move? A two-sided CUSUM whose average run length is computed exactly, not asymptotically.

Page, Biometrika 41:100 (1954). Observations are standardised by a frozen reference and rounded to a lattice, so the
sums walk over whole numbers and the run length follows from a finite Markov chain without an error of discretising
(Brook and Evans, Biometrika 59:539, 1972).

A reference of n patients errs in its mean by ``sd / sqrt(n)``, which makes false alarms more frequent. So the run
length is held for a mean that lies so far off on the alarm's side that only one reference in ten errs more (the aim of
Gandy and Kvaloey, Scand J Stat 40:647, 2013; here by tilting the reference's distribution instead of a bootstrap).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError

Floats = NDArray[np.float64]
STEPS = 10
"""Lattice points in a standard deviation."""
FURTHEST = 30
"""Lattice points at which an observation is cut: three standard deviations."""
ALLOWANCE = 2
"""Lattice points taken off at each step, k: half the shift that is found soonest, so 0.4 standard deviations."""
SURE = 0.9
"""Share of references for which the run length holds."""
LEAST = 20
"""Patients that a reference needs."""
_HIGHEST = 2_000
_NEVER = 1e-12
"""A share that counts as none: below it the chain's equations have no solution in float64."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A frozen distribution: ``mean`` and ``sd`` of it, and the share (61,) of each lattice point from -30 to 30."""

    mean: float
    sd: float
    shares: Floats
    patients: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Reference:
        """Returns the reference of these scores, one a patient.

        Raises:
            DataError: Fewer than 20, or all alike.
        """
        found = _enough(values)
        sd = float(found.std(ddof=1))
        if sd == 0:
            raise DataError("All scores of the reference are alike; is one model behind them that works?")
        made = cls(float(found.mean()), sd, np.zeros(0), len(found))
        # Nobody knows that what was not seen cannot come: one observation is spread over the lattice.
        counts = np.bincount([made.place(value) + FURTHEST for value in values], minlength=2 * FURTHEST + 1)
        return dataclasses.replace(made, shares=(counts + _bell()) / (len(found) + 1))

    @classmethod
    def of_rate(cls, values: Sequence[float]) -> Reference:
        """Returns the reference of a rate; Jeffreys' half an observation of each kind is added.

        Args:
            values: 0 or 1, one a patient.

        Raises:
            DataError: Fewer than 20.
        """
        found = _enough(values)
        rate = float((found.sum() + 0.5) / (len(found) + 1))
        made = cls(rate, math.sqrt(rate * (1 - rate)), np.zeros(0), len(found))
        shares = np.zeros(2 * FURTHEST + 1)
        np.add.at(shares, [made.place(0.0) + FURTHEST, made.place(1.0) + FURTHEST], [1 - rate, rate])
        return dataclasses.replace(made, shares=shares)

    def place(self, value: float) -> int:
        """Returns the lattice point of a value, -30 to 30."""
        return round(min(max((value - self.mean) / self.sd * STEPS, -FURTHEST), FURTHEST))


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """A CUSUM of one side: it alarms at ``limit`` lattice points; ``run_length`` is its mean number of exams to that.

    Attributes:
        limit: Whole lattice points.
        run_length: For a reference that errs as said in the module's text; at least the one that was asked for.
    """

    limit: int
    run_length: float


@dataclasses.dataclass(frozen=True, slots=True)
class Crossing:
    """Where it alarmed: number of the observation (from 1), whether the mean rose, and how far it is estimated to be.

    Attributes:
        since: Number of the observation after which the sum last was 0: the change began about there.
        mean: Mean of the observations since.
    """

    at: int
    rose: bool
    since: int
    mean: float


def chart(reference: Reference, run_length: float, *, rises: bool) -> Chart:
    """Returns the one-sided chart with at least this average run length, for nine references in ten.

    Raises:
        DataError: No limit of up to 200 standard deviations has it.
    """
    error = NormalDist().inv_cdf(SURE) / math.sqrt(reference.patients)
    shares = tilted(_side(reference, rises), error)
    low, high = 1, 8
    while average_run_length(shares, high) < run_length:
        low, high = high, 2 * high
        if high > _HIGHEST:
            raise DataError("No limit of a CUSUM has this run length: the reference is too small for it")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if average_run_length(shares, middle) >= run_length else (middle + 1, high)
    return Chart(high, average_run_length(shares, high))


def average_run_length(shares: Floats, limit: int) -> float:
    """Returns the mean number of observations until the sum reaches ``limit``, starting at 0; infinite if it cannot.

    Brook and Evans 1972, equation 4: ``(I - R) m = 1`` over the states 0 to limit - 1.

    Args:
        shares: Probability (61,) of each lattice point.
        limit: Above 0.
    """
    steps = np.arange(-FURTHEST, FURTHEST + 1) - ALLOWANCE
    if float(shares[steps > 0].sum()) < _NEVER:
        return math.inf
    moves = np.zeros((limit, limit))
    start = np.arange(limit)
    for step, share in zip(steps.tolist(), shares.tolist(), strict=True):
        end = np.maximum(start + step, 0)
        inside = end < limit
        np.add.at(moves, (start[inside], end[inside]), share)
    return float(np.linalg.solve(np.eye(limit) - moves, np.ones(limit))[0])


def watch(values: Sequence[float], reference: Reference, up: Chart, down: Chart) -> Crossing | None:
    """Returns where the two-sided chart first alarmed, None where it has not."""
    sums, zero = [0, 0], [0, 0]
    for number, value in enumerate(values, start=1):
        place = reference.place(value)
        for side, sign, limit in ((0, 1, up.limit), (1, -1, down.limit)):
            sums[side] = max(0, sums[side] + sign * place - ALLOWANCE)
            zero[side] = number if sums[side] == 0 else zero[side]
            if sums[side] >= limit:
                since = values[zero[side] : number]
                return Crossing(number, side == 0, zero[side], sum(since) / len(since))
    return None


def smallest_shift(reference: Reference, limit: int, observations: int, *, rises: bool) -> float | None:
    """Returns the smallest shift of the mean, in standard deviations, whose mean delay is at most so many observations.

    None: no shift up to two standard deviations.
    """
    low, high, shares = 0.0, 2.0, _side(reference, rises)
    if average_run_length(tilted(shares, high), limit) > observations:
        return None
    for _ in range(8):
        middle = (low + high) / 2
        soon = average_run_length(tilted(shares, middle), limit) <= observations
        low, high = (low, middle) if soon else (middle, high)
    return high


def tilted(shares: Floats, shift: float) -> Floats:
    """Returns the exponentially tilted distribution whose mean is higher by ``shift`` standard deviations.

    Of a rate it is the distribution of the higher rate. A mean beyond the lattice stops at its end.
    """
    places = np.arange(-FURTHEST, FURTHEST + 1) / STEPS
    wanted = float(shares @ places) + shift
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(_tilt(shares, places, middle) @ places) < wanted else (low, middle)
    return _tilt(shares, places, high)


def _tilt(shares: Floats, places: Floats, by: float) -> Floats:
    weights = np.log(np.maximum(shares, 1e-300)) + by * places
    grown = np.exp(weights - weights.max())
    return np.asarray(grown / grown.sum())


def _enough(values: Sequence[float]) -> Floats:
    if len(values) < LEAST:
        raise DataError(f"A reference needs {LEAST} exams at least and has {len(values)}")
    return np.asarray(values, dtype=np.float64)


def _side(reference: Reference, rises: bool) -> Floats:
    return reference.shares if rises else reference.shares[::-1]


def _bell() -> Floats:
    bell = np.exp(-0.5 * (np.arange(-FURTHEST, FURTHEST + 1) / STEPS) ** 2)
    return np.asarray(bell / bell.sum())
