"""The digest of a network's tensors, by which hospitals sign weights; it needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def arrays_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Returns the SHA-256 (hex) over name, type, shape and bytes of every array, in the order of their names."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}|{array.dtype}|{array.shape}|".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
