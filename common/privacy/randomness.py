"""Where chance comes from: the operating system in a hospital, a seed in a simulation, never mixed.

One root, 256 bits, is drawn for each call of training and forgotten with it. Every purpose has a key of its own,
derived from the root, and a cryptographic stream under that key, so no purpose, round, run or site shares a bit with
another. A simulation takes the same way from a root that whoever knows the seed can compute.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from common.privacy.stream import KEY_BYTES, SecretStream, derived_key


@dataclass(frozen=True)
class Randomness:
    """One stream a purpose, for one call of training.

    Attributes:
        sampling: Which patients enter a step.
        images: Which images of a patient do, where there are too many.
        noise: What is added to the sum.
        regularisation: Augmentation and dropout. The guarantee needs it secret too: one patient less moves what
            others draw.
        seeded: Whether the noise can be repeated by whoever knows the seed; then it protects nobody.
    """

    sampling: SecretStream
    images: SecretStream
    noise: SecretStream
    regularisation: SecretStream
    seeded: bool

    @classmethod
    def from_entropy(cls) -> Randomness:
        """Returns streams under a root that the operating system drew now, for use at a hospital."""
        return cls._of_root(secrets.token_bytes(KEY_BYTES), seeded=False)

    @classmethod
    def from_seed(cls, seed: int, *labels: str | int) -> Randomness:
        """Returns repeatable streams, distinct for distinct labels, for simulations and tests."""
        text = "|".join([str(seed), *(f"{type(label).__name__}:{_escaped(label)}" for label in labels)])
        return cls._of_root(derived_key(text.encode(), "seed"), seeded=True)

    @classmethod
    def _of_root(cls, root: bytes, *, seeded: bool) -> Randomness:
        def stream(purpose: str) -> SecretStream:
            return SecretStream(derived_key(root, purpose))

        return cls(stream("sampling"), stream("images"), stream("noise"), stream("regularisation"), seeded)


def _escaped(label: str | int) -> str:
    """Keeps a label that holds the separator from being taken for two."""
    return str(label).replace("\\", "\\\\").replace("|", "\\|")
