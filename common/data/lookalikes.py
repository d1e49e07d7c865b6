"""Pictures that look alike: where no patient ids are published, a group of them stands for one patient.

Two images look alike when the Pearson correlation of their 48 x 48 grey thumbnails reaches a threshold; groups are
formed by single linkage. Finds the same lesion saved twice, not two views of one woman.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.data.pixels.transforms import LUMA

SIDE = 48
THRESHOLD = 0.93
"""BUSI: repeats of one lesion lie above, different lesions of one probe below (docs/datasets/busi.md)."""

SIGNATURE_BITS = 512
NEAR_BITS = 46
"""What a correlation of 0.96 gives."""


def thumbnail(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the image as a standardised vector, float32 (2304,): zero mean, unit length (zeros when flat)."""
    grey = image if image.ndim == 2 else np.ascontiguousarray(image @ LUMA)
    small = np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float32).ravel()
    centred = small - small.mean()
    length = float(np.linalg.norm(centred))
    return centred / np.float32(length) if length > 1e-6 else np.zeros_like(centred)


def groups(thumbnails: Sequence[NDArray[np.float32]], threshold: float = THRESHOLD) -> list[int]:
    """Returns for each image the index of its group's first image (its own when nothing looks like it).

    Memory: 4 n**2 bytes for n images.
    """
    matrix = np.stack(thumbnails)
    return linked(matrix @ matrix.T >= threshold)


def linked(alike: NDArray[np.bool_]) -> list[int]:
    """Returns for each image the index of its group's first image, by single linkage.

    Args:
        alike: Symmetric bool (n, n), which images are alike; its diagonal is set.
    """
    np.fill_diagonal(alike, True)
    leader = np.arange(len(alike))
    # Each pass hands the smallest index to all neighbours; the longest chain bounds the passes.
    while True:
        spread = np.where(alike, leader[None, :], len(alike)).min(axis=1)
        if np.array_equal(spread, leader):
            return [int(index) for index in leader]
        leader = spread


def signatures(thumbnails: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Returns uint8 (n, 64) of thumbnails: on which side of 512 public hyperplanes each lies (Charikar 2002).

    Two differ in a share acos(correlation) / pi of the bits, more or less 0.02, so they are compared by
    :func:`seen_again` where the pictures themselves cannot go. Flat pictures, which look like all others, are left out.
    """
    kept = [thumbnail for thumbnail in thumbnails if thumbnail.any()]
    if not kept:
        return np.zeros((0, SIGNATURE_BITS // 8), dtype=np.uint8)
    return np.packbits(np.stack(kept) @ _hyperplanes() > 0, axis=1)


def seen_again(signed: NDArray[np.uint8], others: NDArray[np.uint8]) -> int:
    """Returns how many of ``signed`` (n, 64) differ from one of ``others`` (m, 64) in :data:`NEAR_BITS` at most."""
    bits = np.unpackbits(others, axis=1).astype(np.float32)
    found = 0
    for row in np.unpackbits(signed, axis=1).astype(np.float32):
        apart = bits.sum(1) + row.sum() - 2 * bits @ row
        found += bool((apart <= NEAR_BITS).any())
    return found


@cache
def _hyperplanes() -> NDArray[np.float32]:
    stream = hashlib.shake_256(b"oncofed look-alikes").digest(SIDE * SIDE * SIGNATURE_BITS // 8)
    signs = np.unpackbits(np.frombuffer(stream, np.uint8)).reshape(SIDE * SIDE, SIGNATURE_BITS)
    return signs.astype(np.float32) * 2 - 1
