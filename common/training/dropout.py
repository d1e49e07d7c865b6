"""Dropout whose masks come from the stream of a call.

Removing a patient moves the masks of all who stand behind, so privacy holds only where nobody can try the masks one
after the other. Torch's generator has 2^32 of them, whatever its seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from common.errors import ModelError
from common.privacy.stream import SecretStream

_OF_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@contextmanager
def own_dropout(model: nn.Module, stream: SecretStream) -> Iterator[None]:
    """Lets every dropout of ``model`` draw from ``stream`` as long as the block lasts.

    Raises:
        ModelError: There is a kind of dropout that it does not know.
    """
    found = [module for module in model.modules() if isinstance(module, _DropoutNd) and module.p > 0]
    if unknown := {type(module).__name__ for module in found if type(module) not in (nn.Dropout, *_OF_CHANNELS)}:
        raise ModelError(f"{', '.join(sorted(unknown))} draws from torch's generator; use nn.Dropout")
    for module in found:
        module.forward = partial(_dropped, module, stream)
    try:
        yield
    finally:
        for module in found:
            del module.forward


def _dropped(module: _DropoutNd, stream: SecretStream, inputs: Tensor) -> Tensor:
    if not module.training:
        return inputs
    shape = [*inputs.shape[:2], *[1] * (inputs.dim() - 2)] if isinstance(module, _OF_CHANNELS) else inputs.shape
    kept = torch.from_numpy(stream.uniforms(math.prod(shape)) >= module.p).view(*shape)
    return inputs * kept.to(inputs.device) / (1 - module.p)
