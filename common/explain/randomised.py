"""A trained model that forgets what it learned, from the output down: for the sanity check of heatmaps."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

STAGES = 6
"""Most models given: the head first, then the trunk in equal parts."""


def randomised(model: nn.Module, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Yields copies of ``model`` in which ever more layers, from the output down, have lost what they learned.

    Every tensor of a layer keeps its values and loses their order: a permutation leaves the scale of activations as
    it was, which a fresh draw would not, so the maps change for what was learned and not for saturation. Adebayo et
    al., NeurIPS 2018, section 3.1, cascading randomisation, there with fresh draws.

    Yields:
        The name of the last layer of the stage and the model, in evaluation mode; the last one has none left.
    """
    layers = [name for name, module in model.named_modules() if list(module.parameters(recurse=False))]
    generator = torch.Generator().manual_seed(seed)
    forgetful = copy.deepcopy(model).eval()
    head, trunk = layers[-1:], layers[:-1][::-1]
    parts = [head, *(part.tolist() for part in np.array_split(np.array(trunk, dtype=object), STAGES - 1) if part.size)]
    for part in parts:
        for name in part:
            _forget(forgetful.get_submodule(name), generator)
        yield part[-1], copy.deepcopy(forgetful)


def _forget(layer: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in layer.parameters(recurse=False):
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
