"""Views of an image: a few fixed movements, known to everybody, over which public features are averaged."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """One movement.

    Attributes:
        flip: Whether left and right change places.
        degrees: Tilt.
        right: Shift, in sides of the image.
        down: Shift, in sides of the image.
    """

    flip: bool = False
    degrees: float = 0.0
    right: float = 0.0
    down: float = 0.0

    def of(self, images: Tensor) -> Tensor:
        """Returns the images (N, C, H, W) of [-1, 1] so moved; what comes in from outside is black (-1)."""
        if not (self.degrees or self.right or self.down):
            return images.flip(3) if self.flip else images
        sign, angle = (-1.0 if self.flip else 1.0), math.radians(self.degrees)
        cosine, sine = math.cos(angle), math.sin(angle)
        # affine_grid measures in half sides.
        rows = [[sign * cosine, -sine, 2 * self.right], [sign * sine, cosine, 2 * self.down]]
        grid = functional.affine_grid(
            torch.tensor(rows).to(images).expand(len(images), 2, 3), list(images.shape), align_corners=False
        )
        return functional.grid_sample(images + 1, grid, padding_mode="zeros", align_corners=False) - 1


VIEWS = (View(), View(flip=True), View(degrees=6, right=0.03, down=0.03), View(True, -6, -0.03, -0.03))
"""As is, flipped, and two mild ones inside the range of :func:`common.data.pixels.transforms.augment`."""
