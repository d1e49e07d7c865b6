"""Words burned into an image whose letters touch: bands of thin bright strokes that stand upright, one beside another.

Tissue has thin bright lines as well, but they lie along the skin: a row of pixels crosses few of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

THIN = 7
"""Strokes are thinner than this, in pixels."""
CONTRAST = 0.2
"""How much brighter a stroke is than what is behind it."""
GAP = 9
"""Pixels between letters of a word, and between words of a line, that are bridged."""
HEIGHTS = (6, 24)
LONG = 1.8
"""A word is so many times longer than high."""
CROSSINGS = 1.6
"""Edges of strokes that a row of pixels crosses, for a length as great as the letters' height: in words of BUS-BRA 2.2
to 3.2, in its tissue up to 0.9."""
UPRIGHT = 0.12
"""Share of columns in which strokes fill :data:`TALL` of the height."""
TALL = 0.7
FILL = (0.25, 0.75)
Box = tuple[slice, slice]


def thin_bright(grey: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Returns where an image is brighter than it would be without thin bright structures (white top-hat), bool (H, W).

    Soille, Morphological Image Analysis, 2nd edition, 4.6.
    """
    from scipy import ndimage

    found: NDArray[np.bool_] = grey - ndimage.grey_opening(grey, size=(THIN, THIN)) >= CONTRAST
    return found


def word_mask(strokes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns which of the strokes are of words, bool (H, W).

    Args:
        strokes: As :func:`thin_bright` returns them.
    """
    from scipy import ndimage

    labels, _ = ndimage.label(ndimage.binary_closing(strokes, np.ones((1, GAP))), structure=np.ones((3, 3)))
    found = np.zeros_like(strokes)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        own = strokes[box] & (labels[box] == number)
        if _is_word(own):
            found[box] |= own
    return found


def _is_word(own: NDArray[np.bool_]) -> bool:
    height, width = own.shape
    if not (HEIGHTS[0] <= height <= HEIGHTS[1] and width >= LONG * height and FILL[0] <= own.mean() <= FILL[1]):
        return False
    # The first and last row are often half covered.
    crossed = np.abs(np.diff(own[1:-1].astype(np.int8), axis=1)).sum(axis=1)
    upright = own.mean(axis=0) >= TALL
    return bool(np.median(crossed) * height >= CROSSINGS * width and upright.mean() >= UPRIGHT)
