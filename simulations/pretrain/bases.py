"""The public bases of a checkpoint, from all its images in all views."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from common.config.study import FeatureKind
from common.models.basis import PublicBasis
from common.models.feature_maps import KINDS, FeatureMaps
from common.models.views import VIEWS

MOST_IMAGES = 4000
"""So many images, evenly chosen, show the principal directions; more would fill the memory."""


def public_bases(
    maps: FeatureMaps, inputs: Tensor, dimensions: int, say: Callable[[str], None]
) -> dict[FeatureKind, PublicBasis]:
    """Returns the basis of each kind of features; every view of an image is a row of its own.

    Memory: 16 bytes times :data:`MOST_IMAGES` times the numbers of all kinds together.
    """
    chosen = inputs[:: -(-len(inputs) // MOST_IMAGES)]
    rows: dict[FeatureKind, list[Tensor]] = {kind: [] for kind in KINDS}
    for number, view in enumerate(VIEWS, 1):
        say(f"public features of {len(chosen)} images, view {number}/{len(VIEWS)}")
        for kind, features in maps.of_view(chosen, view).items():
            rows[kind].append(features.cpu())
    say("public bases")
    return {kind: PublicBasis.of(torch.cat(parts).numpy(), dimensions) for kind, parts in rows.items()}
