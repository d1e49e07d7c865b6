"""Masks of burned-in letters and calipers as files, for who wants to blank or look at them; no image is touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.checks.looking import Seen
from common.data.checks.overlay import overlay_mask
from common.data.manifest import Dataset
from common.errors import DataError

ENDING = "_overlay.png"
HALO = 2
"""Pixels around a mark that are of it: letters are drawn with soft edges."""


def write_overlays(dataset: Dataset, seen: Sequence[Seen], folder: Path) -> int:
    """Writes ``<image>_overlay.png`` for each image with letters or calipers, of its size.

    It is 255 where they are and :data:`HALO` pixels around. Returns how many were written; the folders below
    ``folder`` are those of the images.

    Raises:
        DataError: The folder exists, so that no file of a hospital is overwritten.
    """
    from scipy.ndimage import binary_dilation

    if folder.exists():
        raise DataError(f"{folder} exists; name a new folder for the masks")
    marked = [one.record.image for one in seen if one.overlay]
    for key in marked:
        # The ending stays in the name: a.png and a.jpg may lie side by side.
        target = folder / f"{key}{ENDING}"
        target.parent.mkdir(parents=True, exist_ok=True)
        mask = binary_dilation(overlay_mask(dataset.read(key)), iterations=HALO)
        Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(target)
    return len(marked)
