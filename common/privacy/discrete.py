"""The discrete Gaussian, drawn exactly, many values at a time.

Rejection from whole multiples of the scale plus a uniform rest, as Karney (2016, section 3) does for the normal; the
distribution is that of Canonne, Kamath and Steinke (2020), whose own sampler (algorithm 3) rejects half as much again.
Every decision is the one that exact arithmetic takes: floating point decides only where its error cannot matter, and
the rest, about one in 2^39, is decided with as many more bits of the stream and digits of e as it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from common.privacy.stream import SPARE, SecretStream

MAX_SCALE = 1 << 42
"""Largest standard deviation: ten of them still fit int64, and a share of one is exact to 2^-53."""
_BITS = 63
_DOUBT = 2.0**-40
"""Float64 errs by less than 2^-48 here; what is nearer than this is decided exactly."""
_TRIALS = 8192
"""Trials at a time: their rows of 64 KiB stay in a second-level cache."""
_TRIALS_A_VALUE = 1.5
"""One in 1.4 is kept: sqrt(pi / 2) over the sum of exp(-k^2 / 2)."""
_USUAL_WHOLES = 4
"""Five scales and more have a two-millionth of the mass, few enough to be decided one by one."""
Bounds = Callable[[int], tuple[Fraction, Fraction]]
"""Two numbers around 2^bits times some probability, nearer to each other than 2^-40, for any number of bits."""


def discrete_gaussian(count: int, scale: int, stream: SecretStream) -> NDArray[np.int64]:
    """Returns ``count`` draws X, int64, with P(X = x) proportional to exp(-x^2 / (2 scale^2)) over the integers.

    Raises:
        ValueError: ``scale`` is not in 1..2^42.
    """
    if not 1 <= scale <= MAX_SCALE:
        raise ValueError(f"Expected a scale from 1 to {MAX_SCALE}, got {scale}")
    drawn, done = np.empty(count, np.int64), 0
    buffer = np.empty(3 * _TRIALS + SPARE, np.int64)
    while done < count:
        trials = min(_TRIALS, int(_TRIALS_A_VALUE * (count - done)) + 16)
        found = _trials(stream.fill(buffer, 3 * trials).reshape(3, trials), scale, stream)[: count - done]
        drawn[done : done + len(found)] = found
        done += len(found)
    return drawn


def _trials(words: NDArray[np.int64], scale: int, stream: SecretStream) -> NDArray[np.int64]:
    """|Y| = U + scale K with U uniform below scale and P(K = k) ~ exp(-k^2 / 2), kept with exp(-x (2K + x) / 2).

    x is U / scale, so a kept |Y| has weight exp(-(K + x)^2 / 2) = exp(-|Y|^2 / 2 scale^2).
    """
    first, second, third = (row & (2**_BITS - 1) for row in words)
    rests = first - first // scale * scale
    wholes = _wholes(second, stream)
    kept = _kept(rests, wholes, third, scale, stream) & (first < scale * (2**_BITS // scale))
    sizes, negative = (rests + scale * wholes)[kept], words[0][kept] < 0
    np.negative(sizes, out=sizes, where=negative)
    found: NDArray[np.int64] = sizes[~negative | (sizes < 0)]  # else zero would come twice as often
    return found


def _wholes(bits: NDArray[np.int64], stream: SecretStream) -> NDArray[np.int64]:
    """K: the largest k for which the uniform lies below P(K >= k)."""
    *usual, rare = _ladder()
    below, doubtful = np.zeros(len(bits), np.int8), bits <= rare
    for rung in usual:
        below += bits < rung
        doubtful |= bits == rung
    found = below.astype(np.int64)
    for index in np.flatnonzero(doubtful):
        uniform, power = _Uniform(int(bits[index]), stream), 0
        while uniform.below(_tail(power + 1)):
            power += 1
        found[index] = power
    return found


@lru_cache(maxsize=1)
def _ladder() -> tuple[int, ...]:
    """2^63 P(K >= k), rounded down, for k = 1..5: what lies on a rung, or below the last, is decided exactly."""
    return tuple(int(_tail(power)(_BITS)[0]) for power in range(1, _USUAL_WHOLES + 2))


def _kept(
    rests: NDArray[np.int64], wholes: NDArray[np.int64], bits: NDArray[np.int64], scale: int, stream: SecretStream
) -> NDArray[np.bool_]:
    shares = rests / scale
    margin = np.exp(shares * (-0.5 * shares - wholes)) - bits * 2.0**-_BITS
    kept: NDArray[np.bool_] = margin > 0
    for index in np.flatnonzero(np.abs(margin) < _DOUBT):
        share, whole = Fraction(int(rests[index]), scale), int(wholes[index])
        kept[index] = _Uniform(int(bits[index]), stream).below(_exp(share * (2 * whole + share) / 2))
    return kept


class _Uniform:
    """A real number in [0, 1) of which 63 bits are known, and more whenever they are needed."""

    def __init__(self, known: int, stream: SecretStream) -> None:
        self._known, self._bits, self._stream = known, _BITS, stream

    def below(self, probability: Bounds) -> bool:
        """Returns whether the number is below the probability, exactly."""
        while True:
            low, high = probability(self._bits)
            if self._known + 1 <= low:
                return True
            if self._known >= high:
                return False
            self._known = (self._known << 64) | (int(self._stream.words(1)[0]) & (2**64 - 1))
            self._bits += 64


def _exp(exponent: Fraction) -> Bounds:
    """exp(-exponent), for an exponent of at least 0."""

    def bounds(bits: int) -> tuple[Fraction, Fraction]:
        digits = _digits(bits)
        power = digits.divide(Decimal(-exponent.numerator), Decimal(exponent.denominator))
        return _around(Fraction(digits.exp(power)) * 2**bits, digits, 3 + int(exponent))

    return bounds


def _tail(least: int) -> Bounds:
    """P(K >= least): the sum of exp(-k^2 / 2) from there over the sum from 0, each cut where no digit changes."""

    def bounds(bits: int) -> tuple[Fraction, Fraction]:
        digits = _digits(bits)
        last = least + int((5 * digits.prec) ** 0.5) + 2
        weights = [Fraction(digits.exp(Decimal(-k * k) / 2)) for k in range(last)]
        return _around(sum(weights[least:], Fraction(0)) / sum(weights) * 2**bits, digits, 8)

    return bounds


def _digits(bits: int) -> Context:
    return Context(prec=bits // 3 + 60)


def _around(value: Fraction, digits: Context, roundings: int) -> tuple[Fraction, Fraction]:
    """The decimal module rounds exp correctly: so many roundings of its last digit stand in the value."""
    slack = value * Fraction(roundings, 10 ** (digits.prec - 2))
    return value - slack, value + slack
