"""Pixels to network input: the same for every site and fixed beforehand, so nothing is fitted on private images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""ITU-R BT.601 weights of red, green and blue."""

MAX_ROTATION = 10.0
"""Degrees: probes are tilted, but depth always runs down, hence no vertical flip either."""
MAX_SHIFT = 0.06
"""Share of the side."""
MAX_BRIGHTNESS = 0.15
"""Relative change of intensity above black."""


def preprocess(image: NDArray[np.float32], size: int, channels: int) -> NDArray[np.float32]:
    """Returns the network input, float32 (channels, size, size) in [-1, 1].

    The image keeps its aspect, is resized with antialiasing until its longer side is ``size``, is centred on black
    and normalised by (x - 0.5) / 0.5.

    Args:
        image: float32 (H, W) or (H, W, 3) in [0, 1].
        size: Side of the result in pixels, at least 1.
        channels: 1 (colour becomes luma) or 3 (grey is repeated).

    Raises:
        DataError: The array has another shape or values that are not finite.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise DataError(f"An image has shape {image.shape}; expected (H, W) or (H, W, 3)")
    if not np.isfinite(image).all():
        raise DataError("An image holds values that are not finite; expected pixels in [0, 1]")
    planes = [image] if image.ndim == 2 else [image[..., index] for index in range(3)]
    if channels == 1 and len(planes) == 3:
        planes = [image @ LUMA]
    fitted = [fit(plane, size) for plane in planes]
    stacked = np.stack(fitted * channels if len(fitted) == 1 else fitted)
    return normalise(stacked)


def normalise(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns values of [0, 1] moved to [-1, 1], clipped, float32."""
    return (np.clip(values, 0.0, 1.0) * 2.0 - 1.0).astype(np.float32)


def fit(plane: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Returns a plane (H, W) resized to a longer side of ``size`` and centred on zeros, float32 (size, size)."""
    height, width = plane.shape
    scale = size / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    resized = plane
    if (new_height, new_width) != (height, width):
        source = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
        resized = np.asarray(source.resize((new_width, new_height), Image.Resampling.BILINEAR), dtype=np.float32)
    canvas = np.zeros((size, size), dtype=np.float32)
    top, left = (size - new_height) // 2, (size - new_width) // 2
    canvas[top : top + new_height, left : left + new_width] = resized
    return canvas


def augment(batch: Tensor, uniforms: Callable[[int], NDArray[np.float64]]) -> Tensor:
    """Returns a new batch in which every image is flipped left to right (half of them), tilted, moved and rebrightened.

    The same draws give the same batch, each image is changed without regard to the others, and black stays
    black. Tables, float32 (N, F), come back unchanged.

    Args:
        batch: float32 (N, C, H, W) in [-1, 1].
        uniforms: Returns so many draws from [0, 1); five an image.
    """
    import torch
    from torch.nn import functional

    if batch.ndim != 4 or not len(batch):
        return batch
    draws = torch.from_numpy(uniforms(5 * len(batch)).reshape(-1, 5)).to(batch)
    flip = torch.where(draws[:, 0] < 0.5, -1.0, 1.0).to(batch)
    angle = (draws[:, 1] * 2 - 1) * math.radians(MAX_ROTATION)
    # affine_grid measures in half sides.
    move = (draws[:, 2:4] * 2 - 1) * 2 * MAX_SHIFT
    brightness = 1 + (draws[:, 4] * 2 - 1) * MAX_BRIGHTNESS
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rows = torch.stack([flip * cosine, -sine, move[:, 0], flip * sine, cosine, move[:, 1]], dim=1)
    grid = functional.affine_grid(rows.view(-1, 2, 3), list(batch.shape), align_corners=False)
    moved = functional.grid_sample(batch + 1, grid, padding_mode="zeros", align_corners=False)
    return (moved * brightness[:, None, None, None] - 1).clamp(-1, 1)
