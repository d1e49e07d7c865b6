"""Burned-in letters and calipers: bright, thin marks that stand in a row, words whose letters touch, and crosses.

Tuned by eye on BUS-BRA and BUSI (``docs/data-checks.md``): it misses single letters, dim text, diagonal calipers and
rulers. What it finds is rarely tissue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.data.checks.words import thin_bright, word_mask

BRIGHT, LEAST = 0.75, 0.55
"""Of the image's maximum, and at all, from which a pixel can be of a mark."""
STANDS_OUT = 0.35
"""How much brighter a mark is than the median around it."""
HEIGHTS, WIDTHS = (5, 28), (1, 28)
IN_A_ROW = 3
"""Other letters that a letter needs beside it."""
SIDES = (7, 31)
"""Of crosses."""
STAINED = 0.025
"""Mean difference of an image's strongest and weakest colour, from which it is stained tissue: BUSI's originals reach
0.010, BreaKHis begins at 0.041."""
Box = tuple[slice, slice]


def overlay_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Returns where an image carries letters or calipers, bool (H, W).

    Args:
        image: float32 (H, W) or (H, W, 3) in [0, 1], in the resolution it was saved in.
    """
    from scipy import ndimage

    grey = image if image.ndim == 2 else image.mean(2)
    labels, _ = ndimage.label(grey >= max(BRIGHT * float(grey.max()), LEAST), structure=np.ones((3, 3)))
    marks = [
        (number, box)
        for number, box in enumerate(ndimage.find_objects(labels), start=1)
        if _is_mark(grey, labels, number, box)
    ]
    letters = {number for number, box in marks if _in_a_row(box, [other for _, other in marks])}
    crosses = {number for number, box in marks if _is_cross(labels[box] == number)}
    found: NDArray[np.bool_] = np.isin(labels, list(letters | crosses))
    if _is_stained(image):
        return found
    strokes = thin_bright(grey)
    return found | word_mask(strokes) | _crosses(strokes)


def _is_stained(image: NDArray[np.float32]) -> bool:
    """Whether an image is of stained tissue, whose clefts look like strokes; ultrasound with some colour is not."""
    return image.ndim == 3 and float(np.ptp(image, axis=2).mean()) > STAINED


def _crosses(strokes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    labels, _ = ndimage.label(strokes, structure=np.ones((3, 3)))
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    found: NDArray[np.bool_] = np.isin(labels, [number for number, box in boxes if _is_cross(labels[box] == number)])
    return found


def _is_mark(grey: NDArray[np.float32], labels: NDArray[np.int32], number: int, box: Box) -> bool:
    from scipy import ndimage

    height, width = (side.stop - side.start for side in box)
    if not (HEIGHTS[0] <= height <= HEIGHTS[1] and WIDTHS[0] <= width <= WIDTHS[1]):
        return False
    own = labels[box] == number
    if own.sum() < HEIGHTS[0] or (width > 4 and own.mean() > 0.75):
        return False
    around = tuple(slice(max(0, side.start - 2), side.stop + 2) for side in box)
    ring = ~ndimage.binary_dilation(labels[around] == number)
    return bool(ring.any() and grey[box][own].mean() - np.median(grey[around][ring]) >= STANDS_OUT)


def _in_a_row(box: Box, others: list[Box]) -> bool:
    height = box[0].stop - box[0].start
    beside = [
        other
        for other in others
        if abs(other[0].stop - box[0].stop) <= 2
        and abs(other[0].stop - other[0].start - height) <= 3
        and abs(_middle(other) - _middle(box)) <= 6 * height
    ]
    return len(beside) > IN_A_ROW


def _middle(box: Box) -> float:
    return float(box[1].start + box[1].stop) / 2


def _is_cross(own: NDArray[np.bool_]) -> bool:
    """Whether two lines of the whole box's length, at most three pixels wide, cross in its middle."""
    height, width = own.shape
    if not SIDES[0] <= min(height, width) <= max(height, width) <= SIDES[1] or abs(height - width) > 2:
        return False
    row, column = int(own.sum(1).argmax()), int(own.sum(0).argmax())
    if own[row].mean() < 0.9 or own[:, column].mean() < 0.9:
        return False
    if abs(row - height / 2) > height / 5 or abs(column - width / 2) > width / 5:
        return False
    rest = own.copy()
    rest[max(0, row - 1) : row + 2] = False
    rest[:, max(0, column - 1) : column + 2] = False
    return bool(rest.sum() <= 0.1 * own.sum())
