"""Where a pooled linear head looks, from its feature map alone: Grad-CAM without a gradient.

For global average pooling and a linear head the gradient of the logit is the same at every place, so Grad-CAM
(Selvaraju et al. 2017, equations 1 and 2) is the class activation map (Zhou et al. 2016, equation 2), up to a factor
that the scaling to [0, 1] takes out. Where the head centres and normalises the pooled features first, the slope of
that is put in by hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.config.study import DataConfig
from common.data.pixels.breast import find_breast

Floats = NDArray[np.float32]
_SMALLEST = 1e-12
"""torch's least norm that a row is divided by."""


def class_activation(features: Floats, weight: Floats, *, normalised: bool) -> Floats:
    """Returns the map of what speaks for malignancy, float32 (h, w), at least 0 and not scaled.

    Args:
        features: float32 (D, h, w) of one image.
        weight: float32 (D,) of the head.
        normalised: Whether the head centres the pooled features and scales them to length 1.
    """
    slopes = weight.astype(np.float64)
    if normalised:
        slopes = _through_normalisation(features.mean((1, 2), dtype=np.float64), slopes)
    summed = np.tensordot(slopes, features.astype(np.float64), 1)
    return np.maximum(summed, 0).astype(np.float32)


def _through_normalisation(pooled: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns d (w . c / |c|) / d pooled, with c the centred pooled features."""
    centred = pooled - pooled.mean()
    length = max(float(np.linalg.norm(centred)), _SMALLEST)
    slope = weight / length - centred * float(weight @ centred) / length**3
    centred_slope: NDArray[np.float64] = slope - slope.mean()
    return centred_slope


def to_unit(heat: Floats) -> Floats:
    """Returns the map moved and scaled to [0, 1]; a flat one becomes 0."""
    low, high = float(heat.min()), float(heat.max())
    if high <= low:
        return np.zeros_like(heat)
    return np.asarray((heat - low) / (high - low), dtype=np.float32)


def on_image(heat: Floats, image: Floats, data: DataConfig) -> Floats:
    """Returns the map in the frame of the image as it was read, float32 (H, W) in [0, 1]; 0 where the network saw none.

    Args:
        heat: float32 (h, w), as :func:`class_activation` gives it.
        image: float32 (H, W) or (H, W, 3).
        data: How the network got the image.
    """
    height, width = image.shape[:2]
    placed = np.zeros((height, width), dtype=np.float32)
    top, bottom, left, right, turned = 0, height, 0, width, False
    if data.breast_crop:
        lie = find_breast(image if image.ndim == 2 else image.mean(axis=2))
        top, bottom, left, right, turned = lie.top, lie.bottom, lie.left, lie.right, lie.turned
    part = _unfitted(heat, (bottom - top, right - left), data.image_size)
    placed[top:bottom, left:right] = part[:, ::-1] if turned else part
    return to_unit(placed)


def _unfitted(heat: Floats, size: tuple[int, int], side: int) -> Floats:
    """Returns what of the map lies on the image that :func:`common.data.pixels.transforms.fit` centred, at ``size``."""
    scale = side / max(size)
    height, width = (max(1, round(length * scale)) for length in size)
    top, left = (side - height) // 2, (side - width) // 2
    whole = Image.fromarray(heat).resize((side, side), Image.Resampling.BILINEAR)
    part = whole.crop((left, top, left + width, top + height))
    return np.asarray(part.resize((size[1], size[0]), Image.Resampling.BILINEAR), dtype=np.float32)
