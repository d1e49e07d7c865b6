"""Mammograms in one form: cropped to the breast, chest wall at the left. Fitted to nothing but the image itself.

The side is read off the pixels, not off the tags: laterality tells which breast was taken, not how the image lies, and
archives differ (some mirror, scanned films lie as they were put in).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WORKING_SIDE = 256
"""Longest side in pixels at which the breast is looked for."""
MARGIN = 0.02
"""Of the longer side, kept around the breast."""
LEAST_SHARE = 0.03
"""A largest bright region smaller than this share of the image is no breast: nothing is cropped."""
_BINS = 256


@dataclasses.dataclass(frozen=True)
class Lie:
    """Where the breast lies: rows [top, bottom), columns [left, right), and ``turned`` if it needs a mirror."""

    top: int
    bottom: int
    left: int
    right: int
    turned: bool


def crop_and_turn(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the part that holds the breast, chest wall at the left; (h, w) or (h, w, 3), not larger than the input.

    Args:
        image: float32 (H, W) or (H, W, 3) in [0, 1], tissue bright on dark.
    """
    lie = find_breast(image if image.ndim == 2 else image.mean(axis=2))
    part = image[lie.top : lie.bottom, lie.left : lie.right]
    return np.ascontiguousarray(part[:, ::-1] if lie.turned else part)


def find_breast(image: NDArray[np.float32]) -> Lie:
    """Returns where the largest region brighter than Otsu's threshold (1979) lies, with a margin.

    It needs a mirror when its centre of area lies right of the middle of the image. Burned-in labels are regions of
    their own, and smaller.
    """
    height, width = image.shape
    breast = _largest(_small(image))
    if breast.mean() < LEAST_SHARE:
        return Lie(0, height, 0, width, turned=False)
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
    down, across = height / breast.shape[0], width / breast.shape[1]
    margin = MARGIN * max(height, width)
    centre = float((breast.sum(axis=0) * np.arange(breast.shape[1])).sum() / breast.sum())
    return Lie(
        top=max(0, int(rows[0] * down - margin)),
        bottom=min(height, int(np.ceil((rows[-1] + 1) * down + margin))),
        left=max(0, int(columns[0] * across - margin)),
        right=min(width, int(np.ceil((columns[-1] + 1) * across + margin))),
        turned=centre > (breast.shape[1] - 1) / 2,
    )


def _small(image: NDArray[np.float32]) -> NDArray[np.float32]:
    scale = WORKING_SIDE / max(image.shape)
    if scale >= 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BOX), dtype=np.float32)


def _largest(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    from scipy import ndimage

    regions, count = ndimage.label(image > otsu(image))
    if not count:
        return np.zeros(image.shape, dtype=np.bool_)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    found: NDArray[np.bool_] = regions == int(sizes.argmax())
    return found


def otsu(image: NDArray[np.float32]) -> float:
    """Returns the threshold in [0, 1] that divides 256 grey levels with the greatest variance between the two parts."""
    counts, edges = np.histogram(np.clip(image, 0, 1), bins=_BINS, range=(0.0, 1.0))
    levels = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * levels)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1 + int(np.nan_to_num(between).argmax())])
