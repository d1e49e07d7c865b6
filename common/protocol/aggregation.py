"""Updates and how they add up.

An :class:`Update` is a weighted difference of weights; updates add with ``+`` in fixed point, so a sum is the same
in whatever order sites answer, bit for bit, and the hub holds one running sum however many sites there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRACTION_BITS = 32
MAX_ABS_DELTA = 2.0**9
MAX_TOTAL_WEIGHT = 2**20
"""Together: |delta| * weight * 2**32 stays below 2**61, so that an int64 sum cannot overflow."""

_BLOCK = 1 << 15
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Update:
    """A sum of weighted differences: ``sums[name]`` holds round(delta * 2**32) * weight, int64.

    Attributes:
        weight: Total weight, a positive count of declared patients (or of sites).
        sums: One int64 array for each trained tensor, of the tensor's shape.
    """

    weight: int
    sums: Mapping[str, NDArray[np.int64]]

    def __post_init__(self) -> None:
        if not 0 < self.weight <= MAX_TOTAL_WEIGHT:
            raise ValueError(f"Expected a weight in 1..{MAX_TOTAL_WEIGHT}, got {self.weight}")

    @classmethod
    def of(cls, delta: Arrays, weight: int) -> Update:
        """Returns one site's update.

        Raises:
            ValueError: A difference is not finite or larger than ``MAX_ABS_DELTA``.
        """
        return cls(weight, {name: _fixed_point(name, values, weight) for name, values in delta.items()})

    def __add__(self, other: Update) -> Update:
        if self.sums.keys() != other.sums.keys():
            raise ValueError("Updates of different models do not add")
        sums = {name: values + other.sums[name] for name, values in self.sums.items()}
        return Update(self.weight + other.weight, sums)

    def __iadd__(self, other: Update) -> Update:
        """Returns the sum in the arrays of this one, which is used up."""
        if self.sums.keys() != other.sums.keys():
            raise ValueError("Updates of different models do not add")
        for name, values in self.sums.items():
            np.add(values, other.sums[name], out=values)
        return Update(self.weight + other.weight, self.sums)

    def mean(self) -> dict[str, NDArray[np.float32]]:
        """Returns the weighted mean difference, float32, accurate to 2**-33 before rounding."""
        scale = self.weight * 2.0**FRACTION_BITS
        return {name: (values / scale).astype(np.float32) for name, values in self.sums.items()}


def _fixed_point(name: str, values: NDArray[np.float32], weight: int) -> NDArray[np.int64]:
    """Returns round(values * 2**32) * weight in one pass, block by block: what is worked on stays in the cache."""
    found, room = np.empty(values.shape, np.int64), np.empty(min(_BLOCK, values.size))
    given, flat = np.ascontiguousarray(values).reshape(-1), found.reshape(-1)
    for start in range(0, given.size, _BLOCK):
        part, out = given[start : start + _BLOCK], flat[start : start + _BLOCK]
        if not max(part.max(), -part.min()) <= MAX_ABS_DELTA:  # not-a-number passes through max and min
            raise ValueError(f"Expected finite differences of at most {MAX_ABS_DELTA:g} in {name!r}")
        wide = np.multiply(part, 2.0**FRACTION_BITS, out=room[: part.size], dtype=np.float64)
        np.copyto(out, np.rint(wide, out=wide), casting="unsafe")
        np.multiply(out, weight, out=out)
    return found


def difference(new: Arrays, old: Arrays) -> dict[str, NDArray[np.float32]]:
    """Returns ``new - old`` for each tensor, float32."""
    return {name: np.asarray(new[name] - old[name], dtype=np.float32) for name in old}


def apply(old: Arrays, delta: Arrays) -> dict[str, NDArray[np.float32]]:
    """Returns ``old + delta`` for each tensor, float32."""
    return {name: np.asarray(old[name] + delta[name], dtype=np.float32) for name in old}


def blend(average: Arrays, new: Arrays, decay: float) -> dict[str, NDArray[np.float32]]:
    """Returns ``decay * average + (1 - decay) * new`` for each tensor, float32 (Polyak and Juditsky 1992)."""
    return {name: np.asarray(decay * average[name] + (1 - decay) * new[name], dtype=np.float32) for name in new}


def norm(delta: Arrays) -> float:
    """Returns the L2 norm over all tensors, accumulated in float64."""
    return float(np.sqrt(sum(float(np.sum(np.square(d, dtype=np.float64))) for d in delta.values())))
