"""Weights as plain arrays and safetensors: exact keys and shapes, finite values, nothing unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from common.errors import ModelError
from common.models.parts import trainable_names
from common.models.pretrained import check_finite
from common.models.state_digest import arrays_digest


def trainable_state(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Returns copies of the trained parameters, float32, in the model's order."""
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach().cpu().numpy().copy() for name in trainable_names(model)}


def load_trainable(model: nn.Module, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Puts the trained parameters into ``model``.

    Raises:
        ModelError: A key is missing or unknown, a shape differs, or a value is no finite float; the model is unchanged.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if arrays.keys() != parameters.keys():
        odd = sorted(arrays.keys() ^ parameters.keys())[:3]
        raise ModelError(f"The weights do not fit the model: keys such as {odd} are missing or unknown")
    for name, values in arrays.items():
        shape = tuple(parameters[name].shape)
        fits = values.shape == shape and np.issubdtype(values.dtype, np.floating)
        if not fits or not np.isfinite(values).all():
            raise ModelError(
                f"The weights of {name} must be finite floats of shape {shape}, got {values.dtype} of shape "
                f"{values.shape}; every party must use the same study and the same version of OncoFed"
            )
    with torch.no_grad():
        for name, values in arrays.items():
            parameters[name].copy_(torch.from_numpy(np.ascontiguousarray(values)))


def frozen_digest(model: nn.Module) -> str:
    """Returns the SHA-256 (hex) over name, type, shape and bytes of every tensor that is not trained."""
    trained = set(trainable_names(model))
    return state_digest({name: tensor for name, tensor in model.state_dict().items() if name not in trained})


def state_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Returns the SHA-256 (hex) over name, type, shape and bytes of every tensor, in the order of their names."""
    return arrays_digest({name: tensor.detach().cpu().contiguous().numpy() for name, tensor in state.items()})


def save_model(model: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes the full state as safetensors with ``metadata``."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(state, path, metadata=dict(metadata))


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a full state from safetensors; no tensor is read before names and shapes are known to fit.

    Raises:
        ModelError: The file is missing, damaged, belongs to another model, or holds NaN; the model is unchanged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            _check_shapes(model, {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}, path)  # noqa: SIM118
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is no readable safetensors file ({str(error).splitlines()[0]})") from None
    check_finite(state, path)
    model.load_state_dict(state, strict=True)


def _check_shapes(model: nn.Module, got: Mapping[str, tuple[int, ...]], path: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    odd = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
    if odd:
        raise ModelError(
            f"{path} belongs to another model: {len(odd)} of {len(expected)} tensors are missing, unknown or of "
            f"another shape, such as {odd[0]}; build the model from the study that the file came with"
        )
