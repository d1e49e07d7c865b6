"""The Gaussian mechanism on a grid: integers plus integers, so that no low bit of a sum shows through.

A sum in floating point, noised in floating point, can betray itself by its last bits (Mironov 2012). Here the sum is
rounded to a public grid and the noise is a whole number of its steps, so a release is a function of integers alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import ModelError
from common.privacy.discrete import discrete_gaussian
from common.privacy.gaussian import NormalBlocks
from common.privacy.stream import SecretStream

FINENESS = 26
"""The grid's step is 2^-26 of the clipping norm's power of two: 2^26 steps to a clip, while every sum of a million
patients and its noise still count fewer than 2^53 steps, which float64 holds exactly."""
MAX_VALUES = 1 << 28
"""Trained values that a step may have at most: it bounds what rounding adds to the sensitivity."""
ARITHMETIC = 2.0**-10
"""Share of the clipping norm that float32 arithmetic of gradients, norms and sums may move a sum by."""
EXACT_VALUES = 100_000
"""Up to so many values a step, noise is drawn exactly: dearer by value, and such a step has few of them."""
AHEAD = 5_000
"""Values that are drawn at a time where a step has fewer."""
EXACT, ROUNDED = "discrete Gaussian", "rounded Gaussian"
MAX_MULTIPLIER = 1 << 14
"""Above what :func:`common.privacy.accounting.solve_noise_multiplier` finds; more would leave the samplers' range."""


def sampler_of(values: int) -> str:
    """Returns which sampler draws the noise of a step of so many values."""
    return EXACT if values <= EXACT_VALUES else ROUNDED


def draw_steps(values: int, std_steps: int, stream: SecretStream) -> Iterator[NDArray[np.float64]]:
    """Yields noise for ``values`` values in blocks: whole numbers of standard deviation ``std_steps``, as float64.

    Each block is overwritten by the next.
    """
    if sampler_of(values) == EXACT:
        yield discrete_gaussian(values, std_steps, stream).astype(np.float64)
        return
    blocks = NormalBlocks(stream)
    while values > 0:
        block = blocks.block(values, float(std_steps))
        values -= len(block)
        yield np.rint(block, out=block)


class NoiseSource:
    """Noise step after step from one stream; that of small steps is drawn ahead, for a call costs as much as values.

    No value is handed out twice, and what is left at the end is thrown away.
    """

    def __init__(self, noise: GridNoise, stream: SecretStream) -> None:
        self._noise, self._stream = noise, stream
        self._ahead = np.empty((0, 0))

    def draw_step(self, values: int) -> Iterator[NDArray[np.float64]]:
        """Yields the noise of the next step as :meth:`GridNoise.draw` does."""
        if values > AHEAD:
            yield from self._noise.draw(values, self._stream)
            return
        if self._ahead.shape[0] == 0 or self._ahead.shape[1] != values:
            (drawn,) = self._noise.draw(AHEAD // values * values, self._stream)
            self._ahead = drawn.reshape(-1, values)
        row, self._ahead = self._ahead[0], self._ahead[1:]
        yield row


@dataclass(frozen=True, slots=True)
class GridNoise:
    """The noise of every step of a plan; all of it is public.

    Attributes:
        clip_norm: L2 bound of one patient's share of the sum.
        noise_multiplier: Standard deviation over sensitivity.
    """

    clip_norm: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        if not 0 < self.noise_multiplier <= MAX_MULTIPLIER:
            raise ValueError(f"Expected 0 < noise_multiplier <= {MAX_MULTIPLIER}, got {self.noise_multiplier}")

    @property
    def grid(self) -> float:
        """Returns the step of the grid: a power of two, so that dividing by it is exact."""
        return math.ldexp(1.0, math.floor(math.log2(self.clip_norm)) - FINENESS)

    @property
    def sensitivity(self) -> float:
        """Returns how far one patient moves the rounded sum: C (1 + 2^-10) + sqrt(2^28) grid.

        Each of two neighbouring sums moves by at most half a step in each value when it is rounded.
        """
        return self.clip_norm * (1 + ARITHMETIC) + math.sqrt(MAX_VALUES) * self.grid

    @property
    def std_steps(self) -> int:
        """Returns the standard deviation in steps of the grid, rounded up to a whole number."""
        return math.ceil(self.noise_multiplier * self.sensitivity / self.grid)

    @property
    def std(self) -> float:
        """Returns the standard deviation of the noise on each value of a sum."""
        return self.std_steps * self.grid

    def sampler(self, values: int) -> str:
        """Returns which sampler draws the noise of a step of so many values."""
        return sampler_of(values)

    def draw(self, values: int, stream: SecretStream) -> Iterator[NDArray[np.float64]]:
        """Yields noise for ``values`` values in blocks: whole numbers of grid steps, as float64, which holds them.

        Each block is overwritten by the next.

        Raises:
            ModelError: A step has more values than the sensitivity allows for.
        """
        if values > MAX_VALUES:
            raise ModelError(f"A private step can train at most {MAX_VALUES:,} values, got {values:,}; train a part")
        yield from draw_steps(values, self.std_steps, stream)

    def noisy(self, total: NDArray[Any], source: NoiseSource) -> NDArray[np.float32]:
        """Returns the sum (D,), rounded to the grid, plus the source's next noise, float32 (D,).

        float32 rounds a multiple of the grid to a multiple of the grid, and what it rounds are integers only.

        Raises:
            ModelError: A step has more values than the sensitivity allows for.
        """
        noisy, done = np.empty(len(total), np.float32), 0
        for noise in source.draw_step(len(total)):
            part = slice(done, done + len(noise))
            steps = total[part].astype(np.float64)
            steps *= 1 / self.grid
            np.rint(steps, out=steps)
            steps += noise
            steps *= self.grid
            noisy[part] = steps
            done += len(noise)
        return noisy
