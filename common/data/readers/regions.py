"""Lesions published as circles or boxes: a mask key that holds the shape, drawn when it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from common.data.manifest import PixelSource
from common.data.pixels.images import ImageFiles, read_alpha
from common.errors import DataError

MARK = "#"


def circle_key(image: str, x: float, y: float, radius: float) -> str:
    """Returns the mask key of a circle; pixels from the top left corner."""
    return f"{image}{MARK}circle,{x:g},{y:g},{radius:g}"


def box_key(image: str, left: float, top: float, right: float, bottom: float) -> str:
    """Returns the mask key of a box; pixels from the top left corner."""
    return f"{image}{MARK}box,{left:g},{top:g},{right:g},{bottom:g}"


def alpha_key(mask: str) -> str:
    """Returns the mask key of what is opaque in a mask file."""
    return f"{mask}{MARK}alpha"


@dataclasses.dataclass(frozen=True)
class DrawnRegions:
    """Reads images through ``read``, and keys made by this module as masks of the image's size, float32 0 or 1."""

    read: PixelSource

    def __call__(self, key: str) -> NDArray[np.float32]:
        image, mark, shape = key.rpartition(MARK)
        if not mark:
            return self.read(key)
        if shape == "alpha" and isinstance(self.read, ImageFiles):
            return read_alpha(self.read.folder / image)
        name, *numbers = shape.split(",")
        return _draw(name, [float(number) for number in numbers], self.read(image).shape[:2])


def _draw(name: str, numbers: Iterable[float], size: tuple[int, ...]) -> NDArray[np.float32]:
    rows, columns = np.ogrid[: size[0], : size[1]]
    if name == "circle":
        x, y, radius = numbers
        inside = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    elif name == "box":
        left, top, right, bottom = numbers
        inside = (columns >= left) & (columns < right) & (rows >= top) & (rows < bottom)
    else:
        raise DataError(f"A region is a {name}; expected circle or box")
    return inside.astype(np.float32)
