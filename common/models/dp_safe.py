"""Turns a stock network into one that can take per-patient gradients."""

from __future__ import annotations

import operator
from collections.abc import Callable

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

MAX_GROUPS = 32


def out_of_place(model: nn.Module) -> fx.GraphModule:
    """Returns ``model`` traced, with nothing computed in place: hooks see views that must not be changed."""
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    traced = fx.symbolic_trace(model)
    swaps = {operator.iadd: operator.add, operator.imul: operator.mul}
    for node in traced.graph.nodes:
        if node.op == "call_function":
            node.target = swaps.get(node.target, node.target)
            if node.kwargs.get("inplace"):
                node.kwargs = {**node.kwargs, "inplace": False}
    traced.recompile()
    return traced


def group_norm(model: nn.Module) -> nn.Module:
    """Returns ``model`` with each BatchNorm2d replaced by a fresh GroupNorm of the same channels, in place."""
    _replace(model, lambda norm: nn.GroupNorm(_groups(norm.num_features), norm.num_features))
    return model


def fold_batch_norms(model: fx.GraphModule) -> fx.GraphModule:
    """Returns ``model`` with each BatchNorm that follows a convolution folded into it; outputs stay the same.

    The folded network is the pretrained one in evaluation mode (Jacob et al. 2018, section 3.2), so it mixes no
    patients and has no running statistics.
    """
    modules = dict(model.named_modules())
    for node in list(model.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        before = node.args[0]
        convolution = modules.get(str(before.target)) if before.op == "call_module" else None
        if isinstance(convolution, nn.Conv2d) and len(before.users) == 1:
            fused = fuse_conv_bn_eval(convolution.eval(), modules[node.target].eval())
            _set(model, str(before.target), fused)
            node.replace_all_uses_with(before)
            model.graph.erase_node(node)
    model.delete_all_unused_submodules()
    model.recompile()
    return model


def _groups(channels: int) -> int:
    return next(g for g in range(min(MAX_GROUPS, channels), 0, -1) if channels % g == 0)


def _replace(model: nn.Module, make: Callable[[nn.BatchNorm2d], nn.Module]) -> None:
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            _set(model, name, make(module))


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def check_same(first: nn.Module, second: nn.Module, inputs: torch.Tensor) -> float:
    """Returns the largest absolute difference between the outputs of two networks in evaluation mode."""
    with torch.no_grad():
        return float((first.eval()(inputs) - second.eval()(inputs)).abs().max())
