"""Pictures that look alike: where no patient ids are published, a group of them stands for one patient.

Two images look alike when the Pearson correlation of their 48 x 48 grey thumbnails reaches a threshold; groups are
formed by single linkage. Finds the same lesion saved twice, not two views of one woman.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.data.pixels.transforms import LUMA

SIDE = 48
THRESHOLD = 0.93
"""BUSI: repeats of one lesion lie above, different lesions of one probe below (docs/datasets/busi.md)."""


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
