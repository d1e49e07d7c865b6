"""What of a package must be one model: its weights are those that it names, and its graph holds them and no others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ModelError
from common.models.state_digest import arrays_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_CONSTANTS = 64
"""Numbers that a graph may hold in one piece beside the weights: the exporter makes shapes and scales of groups."""


def check_weights(path: Path, digest: str) -> Mapping[str, NDArray[Any]]:
    """Returns the tensors of a package's weights, which have this digest.

    Raises:
        ModelError: They are damaged, or others.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        raise ModelError(f"{path} cannot be read; get the package again") from None
    if arrays_digest(tensors) != digest:
        raise ModelError(f"{path} holds other weights than package.json names; get the package again")
    return tensors


def check_graph(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Refuses a graph that reads numbers from other files, where no hash holds them, or computes with other weights.

    Whether it does with them what the study's network does, its golden images show on a few images only.

    Raises:
        ModelError: It does, or it cannot be read.
    """
    constants = list(_constants(path))
    if any(one.data_location or one.external_data for one in constants):
        raise ModelError(f"{path} takes numbers from another file, which nobody signed; do not use this package")
    found = {data: _count(one) for one in constants for data in (_bytes(one),)}
    own = {array.tobytes(): array.ndim > 1 for array in tensors.values()}
    missing = any(needed and data not in found for data, needed in own.items())
    if missing or any(count > MOST_CONSTANTS and data not in own for data, count in found.items()):
        raise ModelError(f"{path} computes with other weights than those of the package; do not use it")


def _constants(path: Path) -> Iterator[Any]:
    import onnx

    try:
        graph = onnx.load(str(path), load_external_data=False)
    except Exception:  # protobuf's errors share no base class with others
        raise ModelError(f"{path} cannot be run: it is no graph; copy the package again") from None
    yield from _tensors_in(graph, onnx.TensorProto)


def _tensors_in(message: Any, kind: type) -> Iterator[Any]:
    """Yields each tensor at any depth: of initializers, constants, branches and functions."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for one in [value] if hasattr(value, "ListFields") else value:
            if isinstance(one, kind):
                yield one
            elif hasattr(one, "ListFields"):
                yield from _tensors_in(one, kind)


def _count(tensor: Any) -> int:
    total = 1
    for side in tensor.dims:
        total *= side
    return total


def _bytes(tensor: Any) -> bytes:
    from onnx import numpy_helper

    raw: bytes = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
    return raw
