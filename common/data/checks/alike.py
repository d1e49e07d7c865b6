"""The same picture twice: thumbnails that correlate, or difference hashes that hardly differ.

Each finds what the other misses: thumbnails a picture with letters or calipers added, the hash a picture cropped or
framed by a few hundredths (docs/data-checks.md has the figures). Thumbnails also find copies that were mirrored or
turned by quarters. Neither finds copies turned by other angles, nor two views of one woman.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.data.lookalikes import SIDE as THUMBNAIL_SIDE
from common.data.lookalikes import THRESHOLD, linked

SIDE = 8
BITS = 2 * SIDE * SIDE
MOST_BITS = 16
"""Differing bits up to which two pictures are the same: none of BUS-BRA's 775,092 pairs of different women differs in
so few."""


TURNED = 0.97
"""Correlation from which one picture is another that was mirrored or turned by quarters: a breast mirrored is much like
another's. Of 780 images of BreastMNIST four pairs reach 0.95 and none this; turned copies lie above."""


def difference_hash(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Returns which of neighbouring places is brighter, along rows and along columns, bool (128,).

    The difference hash (dHash) with both directions; unchanged by any rising curve of brightness, but for rounding.

    Args:
        image: float32 (H, W) or (H, W, 3).
    """
    grey = image if image.ndim == 2 else np.ascontiguousarray(image.mean(axis=2))
    along, across = _small(grey, SIDE + 1, SIDE), _small(grey, SIDE, SIDE + 1)
    return np.concatenate([(along[:, 1:] > along[:, :-1]).ravel(), (across[1:] > across[:-1]).ravel()])


def distances(hashes: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Returns the number of differing bits of each pair, (n, n), of hashes (n, bits)."""
    ones = hashes.astype(np.float32)
    found: NDArray[np.float32] = ones @ (1 - ones).T + (1 - ones) @ ones.T
    return found


def clusters(thumbnails: Sequence[NDArray[np.float32]], hashes: Sequence[NDArray[np.bool_]]) -> list[list[int]]:
    """Returns the groups of two images or more that look alike, by single linkage, as indices.

    Alike are two whose thumbnails correlate, as they are or with one of them mirrored or turned by quarters, and two
    whose hashes hardly differ. Memory: 13 n**2 bytes for n images.
    """
    if not thumbnails:
        return []
    matrix = np.stack(thumbnails)
    alike = (matrix @ matrix.T >= THRESHOLD) | (distances(np.stack(hashes)) <= MOST_BITS)
    for turned in _turns(matrix):
        found = turned @ matrix.T >= TURNED
        alike |= found | found.T
    leaders = linked(alike)
    groups: dict[int, list[int]] = defaultdict(list)
    for index, leader in enumerate(leaders):
        groups[leader].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _turns(thumbnails: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Returns the thumbnails (n, 2304) in the seven other positions of a square."""
    squares = thumbnails.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    for quarters in range(4):
        turned = np.rot90(squares, quarters, axes=(1, 2))
        for position in (turned, turned[:, :, ::-1]) if quarters else (turned[:, :, ::-1],):
            yield np.ascontiguousarray(position).reshape(len(thumbnails), -1)


def _small(grey: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BOX), dtype=np.float32)
