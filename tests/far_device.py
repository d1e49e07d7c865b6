"""A second device on a machine that has one: its tensors say ``meta`` and hold values that nothing may reach past it.

As on a GPU, an operation on tensors of two devices is refused, ``numpy`` of a far tensor is refused, and memory ends:
no convolution or linear map reads more rows at once than the device holds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

FAR = torch.device("meta")
_aten = torch.ops.aten
_MEET = {_aten.copy_.default}
_INDEXING = {_aten.index.Tensor, _aten.index_put_.default, _aten.index_put.default}
"""What takes tensors of two devices on a GPU too: copies, and indices from the CPU."""
_HEAVY = {_aten.convolution.default}


class FarTensor(torch.Tensor):
    """A tensor that says it lies on :data:`FAR`."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> FarTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=FAR
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        """As on a GPU, whose tensors come over for it."""
        return self.held.tolist()


class FarDevice(TorchDispatchMode):
    """Makes ``FAR`` a device as long as the block lasts.

    Attributes:
        memory: Rows that a convolution may read at once.
        rows: How many each of them did.
        moved: How many values came back to the CPU at a time.
    """

    def __init__(self, memory: int = 1 << 30) -> None:
        super().__init__()
        self.memory, self.rows, self.moved = memory, list[int](), list[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _HEAVY and isinstance(args[0], FarTensor):
            if len(args[0]) > self.memory:
                raise torch.OutOfMemoryError(f"{len(args[0])} rows")
            self.rows.append(len(args[0]))
        found = _run(func, args, kwargs or {})
        if func is _aten._to_copy.default and isinstance(args[0], FarTensor) and not isinstance(found, FarTensor):
            self.moved.append(found.numel())
        return found


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
    far = [one for one in tensors if isinstance(one, FarTensor)]
    near = [one for one in tensors if not isinstance(one, FarTensor) and one.dim()]
    if far and near and func not in _MEET and not (func in _INDEXING and isinstance(args[0], FarTensor)):
        raise RuntimeError(f"Expected all tensors to be on the same device, but {func} got two")
    wanted = kwargs.get("device")
    here = {**kwargs, **({"device": "cpu"} if wanted is not None else {})}
    found = func(*tree_map(_held, args), **tree_map(_held, here))
    if (written := _written(func, args)) is not None:
        return written
    goes_far = bool(far) if wanted is None else torch.device(wanted).type == FAR.type
    return tree_map(lambda one: FarTensor(one) if isinstance(one, torch.Tensor) else one, found) if goes_far else found


def _held(one: Any) -> Any:
    return one.held if isinstance(one, FarTensor) else one


def _written(func: Any, args: Any) -> Any:
    """Returns the argument that an operation in place changes and gives back."""
    for declared, given in zip(func._schema.arguments, args, strict=False):
        if declared.alias_info and declared.alias_info.is_write and isinstance(given, torch.Tensor):
            return given if func._schema.returns else None
    return None
