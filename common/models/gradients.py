"""The gradient of the logit with respect to the convolutions of one block, for each image by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from common.errors import ModelError
from common.models.classifier import Classifier


def convolutions_of(network: Classifier, block: str) -> dict[str, nn.Conv2d]:
    """Returns the convolutions without groups of a block of the trunk, by their names in the trunk.

    Raises:
        ModelError: There is no such block, or it has none.
    """
    found = {
        name: module
        for name, module in network.trunk.named_modules()
        if f"{name}.".startswith(f"{block}.") and isinstance(module, nn.Conv2d) and module.groups == 1
    }
    if not found:
        raise ModelError(
            f"block={block!r} holds no convolution without groups; choose one of {', '.join(blocks_of(network))}"
        )
    return found


def blocks_of(network: Classifier) -> list[str]:
    """Returns the names of the blocks of the trunk: its children, or their children where they are numbered."""
    found: list[str] = []
    for name, child in network.trunk.named_children():
        numbered = [inner for inner, _ in child.named_children() if inner.isdigit()]
        found += [f"{name}.{inner}" for inner in numbered] if name == "blocks" else [name]
    return found


@dataclass
class _Passed:
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


@contextmanager
def watched(convolutions: Mapping[str, nn.Conv2d]) -> Iterator[_Passed]:
    """Yields what the convolutions read and give in a pass; the first of them begins the graph of gradients.

    All parameters must be frozen: nothing before the block is then recorded.
    """
    passed = _Passed()

    def keep(name: str) -> Any:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            begun = output if output.requires_grad else output.requires_grad_()
            passed.inputs[name], passed.outputs[name] = arguments[0].detach(), begun
            return begun

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in convolutions.items()]
    try:
        yield passed
    finally:
        for handle in handles:
            handle.remove()


def image_gradients(
    convolutions: Mapping[str, nn.Conv2d], passed: _Passed, logits: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """Yields each convolution's name and the gradients (N, weights) of the logits (N,), image by image.

    It is the sum over positions of the output's gradient times the patch that was read (Goodfellow 2015,
    arXiv:1510.01799, for convolutions).
    """
    deltas = torch.autograd.grad(logits.sum(), list(passed.outputs.values()))
    for name, delta in zip(passed.outputs, deltas, strict=True):
        patches = _patches(convolutions[name], passed.inputs[name])
        yield name, torch.bmm(delta.flatten(2), patches.transpose(1, 2)).flatten(1)


def _patches(convolution: nn.Conv2d, inputs: Tensor) -> Tensor:
    """Returns what the kernel sees at each position, (N, inputs * kernel, positions)."""
    if convolution.kernel_size == (1, 1) and convolution.stride == (1, 1):
        return inputs.flatten(2)
    padding: Any = convolution.padding
    return unfold(inputs, convolution.kernel_size, convolution.dilation, padding, convolution.stride)
