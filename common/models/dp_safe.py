"""Turns a stock network into one that can take per-patient gradients."""

from __future__ import annotations

import operator
from collections.abc import Callable

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
    """Returns ``model`` without BatchNorms and with the same outputs as in evaluation mode.

    A BatchNorm that follows a convolution is folded into it (Jacob et al. 2018, section 3.2); any other one becomes
    the 1x1 depthwise convolution that it is once its statistics are fixed. Neither mixes patients.
    """
    modules = dict(model.named_modules())
    for node in list(model.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        before = node.args[0]
        convolution = modules.get(str(before.target)) if before.op == "call_module" else None
        if isinstance(convolution, nn.Conv2d) and len(before.users) == 1:
            modules[before.target] = _fused(convolution, modules[node.target])
            _set(model, str(before.target), modules[before.target])
            node.replace_all_uses_with(before)
            model.graph.erase_node(node)
        else:
            _set(model, str(node.target), _as_convolution(modules[node.target]))
    model.delete_all_unused_submodules()
    model.recompile()
    return model


def _as_convolution(norm: nn.BatchNorm2d) -> nn.Conv2d:
    identity = nn.Conv2d(norm.num_features, norm.num_features, 1, groups=norm.num_features)
    nn.init.ones_(identity.weight)
    nn.init.zeros_(identity.bias)  # type: ignore[arg-type]
    return _fused(identity, norm)


def _fused(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    fused: nn.Conv2d = fuse_conv_bn_eval(convolution.eval(), norm.eval())
    return fused.requires_grad_(True)  # torch leaves the bias that it adds untrained


def _groups(channels: int) -> int:
    return next(g for g in range(min(MAX_GROUPS, channels), 0, -1) if channels % g == 0)


def _replace(model: nn.Module, make: Callable[[nn.BatchNorm2d], nn.Module]) -> None:
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            _set(model, name, make(module))


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
