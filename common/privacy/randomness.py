"""Where chance comes from: the operating system in a hospital, a seed in a simulation, never mixed."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Randomness:
    """Separate generators for drawing patients and for noise.

    Both are torch's Mersenne Twister: a pseudo-random generator, not a cryptographic one, which every privacy
    statement says.

    Attributes:
        seeded: Whether the noise can be repeated by whoever knows the seed; then it protects nobody.
    """

    sampling: torch.Generator
    noise: torch.Generator
    seeded: bool

    @classmethod
    def from_entropy(cls) -> Randomness:
        """Returns generators seeded by the operating system, for use at a hospital."""
        return cls(_generator(secrets.randbits(63)), _generator(secrets.randbits(63)), seeded=False)

    @classmethod
    def from_seed(cls, seed: int, *labels: str | int) -> Randomness:
        """Returns repeatable generators, distinct for distinct labels, for simulations and tests."""
        return cls(
            _generator(_derive(seed, "sampling", *labels)), _generator(_derive(seed, "noise", *labels)), seeded=True
        )


def _derive(seed: int, *labels: str | int) -> int:
    text = "|".join([str(seed), *(f"{type(label).__name__}:{label}" for label in labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
