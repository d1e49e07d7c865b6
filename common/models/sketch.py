"""Count sketch: a long vector made short by public signs and a public shuffle, so that inner products stay."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad


class CountSketch:
    """Adds the entries of a vector, each with a sign, in ``size`` sums of equally many.

    The expected inner product of two sketches is that of the vectors (Charikar, Chen and Farach-Colton 2002;
    Weinberger et al. 2009, lemma 2). Signs and places follow from SHAKE-256 of seed and name: the same on each machine.
    """

    def __init__(self, seed: int, name: str, length: int, size: int) -> None:
        self._size, self._rows = size, -(-length // size)
        padded = self._rows * size
        stream = hashlib.shake_256(f"oncofed count sketch|{seed}|{name}|{length}|{size}".encode()).digest(9 * padded)
        keys = np.frombuffer(stream, dtype="<u8", count=padded)
        self._order = torch.from_numpy(np.argsort(keys, kind="stable"))
        self._signs = torch.from_numpy((np.frombuffer(stream, np.uint8, offset=8 * padded) & 1) * 2.0 - 1.0)

    def __call__(self, vectors: Tensor) -> Tensor:
        """Returns the sketches (N, size) of vectors (N, length): sum ``j`` holds the places ``j, j + size, ...``."""
        filled = pad(vectors, (0, len(self._order) - vectors.shape[1]))
        if self._order.device != vectors.device:
            self._order = self._order.to(vectors.device)
        signed = filled[:, self._order] * self._signs.to(vectors)
        return signed.view(len(vectors), self._rows, self._size).sum(1)
