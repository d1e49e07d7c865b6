"""The discrete Gaussian, drawn exactly (Canonne, Kamath and Steinke 2020, algorithm 3), many values at a time.

Every decision is the one that exact arithmetic takes: floating point decides only where its error cannot matter, and
the rest, about one in 2^39, is decided with as many more bits of the stream and digits of e as it takes.
"""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from common.privacy.stream import SPARE, SecretStream

MAX_SCALE = 1 << 42
"""Largest standard deviation: a draw of eight of them, squared in units of it, is exact to 2^-44 in float64."""
_BITS = 63
_DOUBT = 2.0**-40
"""Float64 errs by less than 2^-44 here; what is nearer than this is decided exactly."""
_TRIALS = 8192
"""Trials at a time: their rows of 64 KiB stay in a second-level cache."""
_TRIALS_A_VALUE = 2.2
"""One in 2.08 is kept: (1 - 1/e) sqrt(pi / 2e)."""


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
    """A discrete Laplace draw of this scale each (algorithm 2), kept with the probability that makes it Gaussian.

    |Y| = U + scale V with U uniform and V geometric; Y is kept with exp(-U/scale) exp(-(|Y| - scale)^2 / 2 scale^2).
    """
    first, second, third = (row & (2**_BITS - 1) for row in words)
    rests = first - first // scale * scale
    times = _geometric(second, stream)
    kept = _kept(rests, times, third, scale, stream) & (first < scale * (2**_BITS // scale))
    sizes, negative = (rests + scale * times)[kept], words[0][kept] < 0
    signed = np.where(negative, -sizes, sizes)
    found: NDArray[np.int64] = signed[~negative | (sizes > 0)]  # else zero would come twice as often
    return found


def _geometric(bits: NDArray[np.int64], stream: SecretStream) -> NDArray[np.int64]:
    """V with P(V >= k) = e^-k: the largest k for which the uniform lies below e^-k."""
    depth = -np.log((bits + 0.5) * 2.0**-_BITS)
    doubtful = (bits < 2**44) | (np.abs(depth - np.rint(depth)) < _DOUBT)
    found: NDArray[np.int64] = np.floor(depth).astype(np.int64)
    for index in np.flatnonzero(doubtful):
        uniform, power = _Uniform(int(bits[index]), stream), 0
        while uniform.below_exp(Fraction(power + 1)):
            power += 1
        found[index] = power
    return found


def _kept(
    rests: NDArray[np.int64], times: NDArray[np.int64], bits: NDArray[np.int64], scale: int, stream: SecretStream
) -> NDArray[np.bool_]:
    sizes = rests / scale + times
    margin = np.exp(times - 0.5 - 0.5 * sizes * sizes) - bits * 2.0**-_BITS
    kept: NDArray[np.bool_] = margin > 0
    for index in np.flatnonzero(np.abs(margin) < _DOUBT):
        size, power = Fraction(int(rests[index]), scale) + int(times[index]), int(times[index])
        kept[index] = _Uniform(int(bits[index]), stream).below_exp(size * size / 2 - power + Fraction(1, 2))
    return kept


class _Uniform:
    """A real number in [0, 1) of which 63 bits are known, and more whenever they are needed."""

    def __init__(self, known: int, stream: SecretStream) -> None:
        self._known, self._bits, self._stream = known, _BITS, stream

    def below_exp(self, exponent: Fraction) -> bool:
        """Returns whether the number is below exp(-exponent), exactly."""
        while True:
            low, high = _exp_bounds(exponent, self._bits)
            if self._known + 1 <= low:
                return True
            if self._known >= high:
                return False
            self._known = (self._known << 64) | (int(self._stream.words(1)[0]) & (2**64 - 1))
            self._bits += 64


def _exp_bounds(exponent: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """Returns two numbers around 2^bits exp(-exponent), nearer to each other than 2^-40."""
    digits = Context(prec=bits // 3 + 40)
    power = digits.divide(Decimal(-exponent.numerator), Decimal(exponent.denominator))
    value = Fraction(digits.exp(power)) * 2**bits  # the decimal module rounds exp correctly
    slack = value * Fraction(abs(exponent.numerator) // exponent.denominator + 3, 10 ** (digits.prec - 1))
    return value - slack, value + slack
