"""Where chance comes from: the operating system in a hospital, a seed in a simulation, never mixed."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

import torch
from torch import Tensor

_STATE_BYTES, _WORDS_AT, _WORDS = 5056, 24, 624
"""torch's state of its CPU generator: a header of 24 bytes, then 624 words of 32 bits, each in 8 bytes."""


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
        """Returns generators whose whole state the operating system drew, for use at a hospital.

        torch's ``manual_seed`` keeps 32 bits of its seed: four thousand million streams of noise, few enough to try.
        """
        return cls(_system_generator(), _system_generator(), seeded=False)

    @classmethod
    def from_seed(cls, seed: int, *labels: str | int) -> Randomness:
        """Returns repeatable generators, distinct for distinct labels but for chance, for simulations and tests."""
        return cls(
            _generator(_derive(seed, "sampling", *labels)), _generator(_derive(seed, "noise", *labels)), seeded=True
        )


def _derive(seed: int, *labels: str | int) -> int:
    text = "|".join([str(seed), *(f"{type(label).__name__}:{_escaped(label)}" for label in labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _escaped(label: str | int) -> str:
    """Keeps a label that holds the separator from being taken for two."""
    return str(label).replace("\\", "\\\\").replace("|", "\\|")


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _system_generator() -> torch.Generator:
    generator = _generator(0)
    generator.set_state(_with_words(generator.get_state(), secrets.token_bytes(4 * _WORDS)))
    return generator


def _with_words(state: Tensor, entropy: bytes) -> Tensor:
    """Returns the state of a fresh generator, uint8 (5056,), with ``entropy`` for its 624 words.

    Raises:
        RuntimeError: torch keeps its state in another way than this was written for.
    """
    if state.numel() != _STATE_BYTES:
        raise RuntimeError(f"Expected torch's generator to have {_STATE_BYTES} bytes of state, got {state.numel()}")
    words = torch.frombuffer(bytearray(entropy), dtype=torch.uint8).view(_WORDS, 4)
    filled = state.clone()
    filled[_WORDS_AT : _WORDS_AT + 8 * _WORDS].view(_WORDS, 8)[:, :4] = words
    return filled
