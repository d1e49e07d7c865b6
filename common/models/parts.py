"""Which part of a network is trained: the first lever of private training, for noise grows with the trained part."""

from __future__ import annotations

from torch import nn

from common.config.study import Part
from common.errors import ModelError
from common.models.classifier import Classifier

NORMS = (nn.GroupNorm, nn.LayerNorm)


def select_part(model: Classifier, part: Part) -> None:
    """Marks the parameters that are trained, in place; the head always is.

    ``bias_head`` is DP-BiTFiT (Bu et al. 2022): every bias and the head.

    Raises:
        ModelError: The network has no such part.
    """
    chosen = {name for name, _ in model.named_parameters() if name.startswith("head.")}
    chosen |= _choose(model, part)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)


def trainable_names(model: nn.Module) -> tuple[str, ...]:
    """Returns the names of the trained parameters in the model's own order."""
    return tuple(name for name, parameter in model.named_parameters() if parameter.requires_grad)


def _choose(model: Classifier, part: Part) -> set[str]:
    names = {name for name, _ in model.named_parameters()}
    if part == "all":
        return names
    if part == "head":
        return set()
    if part == "bias_head":
        return {name for name in names if name.endswith("bias")}
    if part == "norms":
        return _required({name for name in names if _owner(model, name)}, "normalisation layers")
    return _required(_last_block(model), "separate blocks")


def _owner(model: Classifier, name: str) -> bool:
    return isinstance(model.get_submodule(name.rpartition(".")[0]), NORMS)


def _last_block(model: Classifier) -> set[str]:
    blocks = [name for name, child in model.trunk.named_children() if any(True for _ in child.parameters())]
    return {
        f"trunk.{name}" for name, _ in model.trunk.named_parameters() if blocks and name.startswith(f"{blocks[-1]}.")
    }


def _required(names: set[str], what: str) -> set[str]:
    if not names:
        hint = ", or model.weights=null for a network with GroupNorm" if "norm" in what else ""
        raise ModelError(f"This network has no {what} to train; choose model.part=head, bias_head or all{hint}")
    return names
