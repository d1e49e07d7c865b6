"""Weights as plain arrays and safetensors: exact keys and shapes, finite values, nothing unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from common.errors import ModelError
from common.models.parts import trainable_names


def trainable_state(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Returns copies of the trained parameters, float32, in the model's order."""
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach().cpu().numpy().copy() for name in trainable_names(model)}


def load_trainable(model: nn.Module, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Puts the trained parameters into ``model``.

    Raises:
        ModelError: A key is missing or unknown, a shape differs, or a value is not finite; the model is unchanged.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if arrays.keys() != parameters.keys():
        odd = sorted(arrays.keys() ^ parameters.keys())[:3]
        raise ModelError(f"The weights do not fit the model: keys such as {odd} are missing or unknown")
    for name, values in arrays.items():
        if values.shape != tuple(parameters[name].shape) or not np.isfinite(values).all():
            raise ModelError(f"The weights of {name} must be finite and of shape {tuple(parameters[name].shape)}")
    with torch.no_grad():
        for name, values in arrays.items():
            parameters[name].copy_(torch.from_numpy(np.ascontiguousarray(values)))


def frozen_digest(model: nn.Module) -> str:
    """Returns the SHA-256 (hex) over name, type, shape and bytes of every tensor that is not trained."""
    digest = hashlib.sha256()
    trained = set(trainable_names(model))
    for name, tensor in sorted(model.state_dict().items()):
        if name not in trained:
            array = tensor.detach().cpu().contiguous().numpy()
            digest.update(f"{name}|{array.dtype}|{array.shape}|".encode() + array.tobytes())
    return digest.hexdigest()


def save_model(model: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes the full state as safetensors with ``metadata``."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(state, path, metadata=dict(metadata))


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a full state from safetensors.

    Raises:
        ModelError: The file is missing, damaged, or belongs to another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
        model.load_state_dict(state, strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"The weights {path} cannot be loaded into this model: {reason}") from None
