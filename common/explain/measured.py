"""Maps of images and what a hospital may tell of them: measures of each patient, by her class or her outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from common.explain.attention import Share, attention, mean_shares, within
from common.explain.explanation_state import ExplanationState
from common.explain.gradcam import Method, gradcam
from common.explain.randomisation import sanity
from common.explain.randomised import randomised

if TYPE_CHECKING:
    from torch import Tensor

    from common.data.pixels.masks import Shown
    from common.models.classifier import Classifier

Maps = NDArray[np.float32]
Mapper = Callable[["Classifier", "Tensor", str], Maps]
"""Model, inputs (N, C, H, W), method -> maps (N, H, W) in [0, 1]."""
BATCH = 16
SANITY_IMAGES = 16
"""Images on which it is tried whether the maps follow the weights."""


def heatmaps(model: Classifier, inputs: Tensor, method: str) -> Maps:
    """Returns the maps of the inputs, float32 (N, H, W) in [0, 1].

    Raises:
        ModelError: The network has no feature map.
    """
    maps = [gradcam(model, chunk, method=cast(Method, method)).numpy() for chunk in inputs.split(BATCH)]
    return np.concatenate(maps).astype(np.float32)


def measures_of(heat: Maps, place: Shown) -> dict[str, Share]:
    """Returns the measures of one map (H, W), padding told apart from the image."""
    (top, bottom, left, right), lesion = place.box, place.lesion
    inner, padding = within(heat, place.box)
    parts = (None if mask is None else mask[top:bottom, left:right] for mask in (lesion, place.overlay))
    found = attention(inner, *parts)
    return found | ({"padding": padding} if padding else {})


def shares_of(maps: Maps, places: Sequence[Shown]) -> dict[str, Share]:
    """Returns the measures of one patient: means over her maps (N, H, W)."""
    return dict(mean_shares([measures_of(heat, place) for heat, place in zip(maps, places, strict=True)]))


def patient_state(cell: str, maps: Maps, shares: dict[str, Share]) -> ExplanationState:
    """Returns the state of one patient with these maps (N, H, W) and measures."""
    blank = bool((np.ptp(maps, axis=(1, 2)) == 0).all())
    return ExplanationState.of(cell, shares, blank=blank)


def sanity_of(model: Classifier, images: Tensor, seed: int, method: str, mapper: Mapper = heatmaps) -> dict[str, Any]:
    """Returns whether maps of at most :data:`SANITY_IMAGES` of the images, spread evenly, follow the weights."""
    places = np.linspace(0, len(images) - 1, min(SANITY_IMAGES, len(images))).round().astype(int)
    inputs = images[places.tolist()]
    stages: Any = randomised(model, seed)
    made = ((name, mapper(other, inputs, method)) for name, other in stages)
    return sanity(mapper(model, inputs, method), made).to_json()
