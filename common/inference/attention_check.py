"""``attention.json``: whether the map without a gradient is Grad-CAM, and whether it follows what the model learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.inference.attention_map import class_activation, to_unit
from common.inference.graph import Network

if TYPE_CHECKING:
    from common.models.classifier import Classifier

Floats = NDArray[np.float32]
LABEL = "Model attention, not a lesion outline"
EQUAL = 1e-2
"""Largest difference of two maps in [0, 1] that are the same: a weak map's scaling enlarges rounding."""


def attention_facts(
    model: Classifier,
    network: Network,
    images: tuple[Floats, Floats | None],
    head: tuple[Floats, bool] | None,
    seed: int,
) -> dict[str, Any]:
    """Returns ``method`` and ``reason``, and what came of the randomisation check.

    Args:
        model: The network by torch.
        network: As the package runs it.
        images: float32 (N, C, S, S): the golden images, and those of patients, if there are any, for the check.
        head: Weight and whether features are normalised; None: there is no map of places.
        seed: Of the randomisation.
    """
    if head is None:
        return {"method": "none", "reason": "the features are no map of places", "label": LABEL}
    golden, patients = images
    worst = float(np.abs(_drawn(network, golden, head) - _gradcam(model, golden)).max())
    if not worst <= EQUAL:
        return {"method": "none", "reason": f"its map differs from Grad-CAM by {worst:.2g}", "label": LABEL}
    return {
        "method": "cam", "reason": "", "label": LABEL, "largest_difference_to_gradcam": worst,
        "sanity": _sanity(model, golden if patients is None else patients, seed),
        "sanity_images": "golden images, no patients" if patients is None else f"{len(patients)} test images",
    }  # fmt: skip


def _gradcam(model: Classifier, images: Floats) -> Floats:
    import torch

    from common.explain.gradcam import gradcam

    return np.asarray(gradcam(model, torch.from_numpy(images)).numpy(), dtype=np.float32)


def _drawn(network: Network, images: Floats, head: tuple[Floats, bool]) -> Floats:
    side = images.shape[-1]
    maps = [class_activation(one, head[0], normalised=head[1]) for one in network(images)[1]]
    large = [Image.fromarray(heat).resize((side, side), Image.Resampling.BILINEAR) for heat in maps]
    return np.stack([to_unit(np.asarray(heat, dtype=np.float32)) for heat in large])


def _sanity(model: Classifier, images: Floats, seed: int) -> dict[str, Any]:
    """Adebayo et al. 2018, cascading randomisation (:mod:`common.explain.randomisation`)."""
    from common.explain.randomisation import sanity
    from common.explain.randomised import randomised

    stages: Any = randomised(model, seed)
    return sanity(_gradcam(model, images), ((name, _gradcam(other, images)) for name, other in stages)).to_json()
