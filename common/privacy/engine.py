"""Clipped per-patient gradient sums, by one of two engines that agree to rounding.

``book_keeping`` (Bu et al. 2023) makes one backward pass for input gradients only and gets each patient's norm layer
by layer; ``hooks`` is Opacus' GradSampleModule, slower, the reference, and the way out for layers that the fast
engine does not know.
"""

from __future__ import annotations

import logging
import types
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import ModelError
from common.privacy import layers
from common.privacy.layers import Patients, Piece
from common.rows import RowLinear, by_rows

log = logging.getLogger("oncofed")
RowLoss = Callable[[Tensor], Tensor]
"""Maps logits (N,) to losses (N,), each already divided by the images of its patient."""
_TINY = 1e-6
"""Opacus' own guard against division by a zero norm."""


class GradientEngine(Protocol):
    """Computes sums of clipped per-patient gradients for the trained parameters of one model."""

    name: str

    def clipped_sum(
        self, inputs: Tensor, row_loss: RowLoss, patients: Patients, clip_norm: float
    ) -> tuple[list[Tensor], Tensor]:
        """Returns the sum over patients of their clipped gradients, one tensor a trained parameter, and the norms.

        Each patient's gradient (the sum of its rows' loss gradients) is scaled to an L2 norm of at most
        ``clip_norm`` over all trained parameters together. Norms are those before clipping, (P,); they are private.
        A patient whose norm is not finite adds nothing: one overflow must not show in the sum.
        """
        ...


@contextmanager
def gradient_engine(name: str, model: nn.Module) -> Iterator[GradientEngine]:
    """Yields the engine; on leaving, the model is as it was.

    A model with a layer that the fast engine does not know, or with weights that layers share, gets the hooks
    engine, with a notice in the log.

    Raises:
        ModelError: Neither engine can take a private step with this model.
    """
    unknown = unknown_layers(model) if name == "book_keeping" else []
    if unknown:
        log.warning(
            "The fast private engine does not know %s: using Opacus hooks, which are slower", ", ".join(unknown)
        )
    engine: Any = HooksEngine(model) if unknown or name == "hooks" else BookKeepingEngine(model)
    try:
        yield engine
    finally:
        engine.close()


def unknown_layers(model: nn.Module) -> list[str]:
    """Returns the types of layers with trained parameters for which there is no fast rule, sorted."""
    trained = _trained_layers(model)
    users = Counter(parameter for layer in trained for parameter in layer.parameters(recurse=False))
    unknown = {type(layer).__name__ for layer in trained if not _known(layer)}
    for layer in trained:
        if any(users[parameter] > 1 for parameter in layer.parameters(recurse=False)):
            unknown.add(f"{type(layer).__name__} with shared weights")
    return sorted(unknown)


def _trained_layers(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]


def _known(layer: nn.Module) -> bool:
    if "forward" in vars(layer):  # someone else's wrapper, which a fast rule would bypass
        return False
    if type(layer) is nn.Conv2d:
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return type(layer) in (nn.Linear, RowLinear, nn.GroupNorm, nn.LayerNorm)


def clip_factors(squares: Tensor, clip_norm: float) -> tuple[Tensor, Tensor]:
    """Returns min(1, C / (norm + 1e-6)), 0 for a norm that is not finite, and the norm of each patient, both (P,)."""
    norms = squares.sqrt()
    return torch.where(norms.isfinite(), (clip_norm / (norms + _TINY)).clamp(max=1.0), 0.0), norms


class BookKeepingEngine:
    """One pass; each layer's rule runs inside the backward of that layer, so little is kept."""

    name = "book_keeping"

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._trained = [p for p in model.parameters() if p.requires_grad]
        self._layers = _trained_layers(model)
        self._pieces: dict[nn.Module, list[Piece]] = {}
        self._patients: Patients | None = None
        for layer in self._layers:
            layer.forward = types.MethodType(_recorded_forward(self), layer)

    def close(self) -> None:
        """Gives the layers their own forward back."""
        for layer in self._layers:
            layer.__dict__.pop("forward", None)

    def clipped_sum(
        self, inputs: Tensor, row_loss: RowLoss, patients: Patients, clip_norm: float
    ) -> tuple[list[Tensor], Tensor]:
        """See :class:`GradientEngine`."""
        self._pieces, self._patients = {}, patients
        for parameter in self._trained:
            parameter.grad = None
        row_loss(self._model(inputs)).sum().backward()
        self._refuse_other_uses()
        with torch.no_grad():
            return self._combine(clip_norm)

    def _refuse_other_uses(self) -> None:
        """The rules give autograd no gradient of a weight, so one that is there came past them."""
        if any(parameter.grad is not None for parameter in self._trained):
            for parameter in self._trained:
                parameter.grad = None
            raise ModelError("A trained weight is used outside its layer, where no engine sees it; rewrite the model")

    def record(self, layer: nn.Module, pieces: Callable[[Patients], list[Piece]]) -> None:
        """Keeps what a layer's backward found.

        Raises:
            ModelError: The layer is used twice in one pass, which its norm rule does not cover.
        """
        if layer in self._pieces:
            raise ModelError(
                f"A {type(layer).__name__} is used twice in one pass; set privacy.engine=hooks for this model"
            )
        if self._patients is None:
            raise RuntimeError("No patients are set")
        with torch.no_grad():
            self._pieces[layer] = pieces(self._patients)

    def _combine(self, clip_norm: float) -> tuple[list[Tensor], Tensor]:
        pieces = [piece for found in self._pieces.values() for piece in found]
        squares = torch.stack([piece.squares for piece in pieces]).sum(0)
        factors, norms = clip_factors(squares, clip_norm)
        sums: dict[Tensor, Tensor] = {}
        for piece in pieces:
            sums |= piece.weighted(factors)
        self._pieces, self._patients = {}, None
        missing = len(self._trained) - len(sums)
        if missing:
            raise ModelError(f"{missing} trained parameters took no part in the pass; choose another model.part")
        return [sums[parameter] for parameter in self._trained], norms


def _recorded_forward(engine: BookKeepingEngine) -> Callable[[nn.Module, Tensor], Tensor]:
    def forward(layer: nn.Module, inputs: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            plain: Tensor = type(layer).forward(layer, inputs)
            return plain
        # The dummy makes autograd call backward for a first layer, whose input needs no gradient.
        dummy = torch.ones((), requires_grad=True)
        output: Tensor = _FUNCTIONS[type(layer)].apply(inputs, dummy, layer, engine)
        return output

    return forward


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, dummy: Tensor, layer: nn.Conv2d, engine: BookKeepingEngine) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.layer, ctx.engine = layer, engine
        return F.conv2d(inputs, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (inputs,), layer, grad = ctx.saved_tensors, ctx.layer, grads[0].contiguous()
        ctx.engine.record(layer, lambda patients: layers.conv2d(layer, inputs, grad, patients))
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        before = torch.ops.aten.convolution_backward(
            grad, inputs, layer.weight, None, layer.stride, layer.padding, layer.dilation, False, [0, 0],
            layer.groups, [True, False, False],
        )[0]  # fmt: skip
        return before, None, None, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, dummy: Tensor, layer: nn.Linear, engine: BookKeepingEngine) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.layer, ctx.engine = layer, engine
        found = by_rows(inputs, layer.weight)
        return found if layer.bias is None else found + layer.bias

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (inputs,), layer, grad = ctx.saved_tensors, ctx.layer, grads[0]
        ctx.engine.record(layer, lambda patients: layers.linear(layer, inputs, grad, patients))
        before = by_rows(grad, layer.weight.T) if ctx.needs_input_grad[0] else None
        return before, None, None, None


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, dummy: Tensor, layer: nn.GroupNorm, engine: BookKeepingEngine) -> Tensor:
        inputs = inputs.contiguous()
        rows, channels = inputs.shape[:2]
        ctx.shape = (rows, channels, inputs.numel() // (rows * channels))
        output, mean, inverse = torch.ops.aten.native_group_norm(
            inputs, layer.weight, layer.bias, *ctx.shape, layer.num_groups, layer.eps
        )
        ctx.save_for_backward(inputs, mean, inverse)
        ctx.layer, ctx.engine = layer, engine
        result: Tensor = output
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        inputs, mean, inverse = ctx.saved_tensors
        layer, grad, groups = ctx.layer, grads[0].contiguous(), ctx.layer.num_groups
        ctx.engine.record(layer, lambda patients: _group_norm_pieces(layer, inputs, mean, inverse, grad, patients))
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        before = torch.ops.aten.native_group_norm_backward(
            grad, inputs, mean, inverse, layer.weight, *ctx.shape, groups, [True, False, False]
        )[0]
        return before, None, None, None


def _group_norm_pieces(
    layer: nn.GroupNorm, inputs: Tensor, mean: Tensor, inverse: Tensor, grad: Tensor, patients: Patients
) -> list[Piece]:
    """sum(g * (x - mean) * inverse) without the normalised map: two inner products a channel."""
    each = layer.num_channels // layer.num_groups
    mean, inverse = mean.repeat_interleave(each, 1), inverse.repeat_interleave(each, 1)
    flat = grad.flatten(2)
    bias_rows = flat.sum(2)
    pieces = []
    if layer.weight.requires_grad:
        inner = torch.linalg.vecdot(flat, inputs.flatten(2))
        pieces.append(layers.instantiated(layer.weight, patients.total((inner - bias_rows * mean) * inverse)))
    if layer.bias.requires_grad:
        pieces.append(layers.instantiated(layer.bias, patients.total(bias_rows)))
    return pieces


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, dummy: Tensor, layer: nn.LayerNorm, engine: BookKeepingEngine) -> Tensor:
        shape = list(layer.normalized_shape)
        output, mean, inverse = torch.ops.aten.native_layer_norm(inputs, shape, layer.weight, layer.bias, layer.eps)
        ctx.save_for_backward(inputs, mean, inverse)
        ctx.layer, ctx.engine = layer, engine
        result: Tensor = output
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        inputs, mean, inverse = ctx.saved_tensors
        layer, grad = ctx.layer, grads[0].contiguous()
        normalised = (inputs - mean) * inverse
        ctx.engine.record(layer, lambda patients: layers.affine(layer, normalised, grad, patients))
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        before = torch.ops.aten.native_layer_norm_backward(
            grad, inputs, list(layer.normalized_shape), mean, inverse, layer.weight, layer.bias, [True, False, False]
        )[0]
        return before, None, None, None


_FUNCTIONS: dict[type[nn.Module], Any] = {
    nn.Conv2d: _Conv2d,
    nn.Linear: _Linear,
    RowLinear: _Linear,
    nn.GroupNorm: _GroupNorm,
    nn.LayerNorm: _LayerNorm,
}


class HooksEngine:
    """Opacus' per-sample gradients, summed by patient before the norm is taken."""

    name = "hooks"

    def __init__(self, model: nn.Module) -> None:
        from opacus import GradSampleModule

        self._trained = [p for p in model.parameters() if p.requires_grad]
        GradSampleModule.GRAD_SAMPLERS[RowLinear] = GradSampleModule.GRAD_SAMPLERS[nn.Linear]
        try:
            self._wrapped = GradSampleModule(model, loss_reduction="sum")
        except (NotImplementedError, ValueError) as error:
            raise ModelError(
                f"Opacus cannot take per-patient gradients of this model: {str(error).splitlines()[0]} "
                "Use a model of the zoo, or replace the layer (BatchNorm by GroupNorm)."
            ) from None

    def close(self) -> None:
        """Takes the hooks, the gradients and the inputs that Opacus keeps off."""
        self._wrapped.remove_hooks()
        for module in self._wrapped.modules():
            for attribute in ("activations", "max_batch_len"):
                vars(module).pop(attribute, None)
        for parameter in self._trained:
            for attribute in ("grad_sample", "_forward_counter"):
                parameter.__dict__.pop(attribute, None)

    def clipped_sum(
        self, inputs: Tensor, row_loss: RowLoss, patients: Patients, clip_norm: float
    ) -> tuple[list[Tensor], Tensor]:
        """See :class:`GradientEngine`."""
        for parameter in self._trained:
            parameter.grad_sample = None  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            # The first layer's hook fires although its input needs no gradient; that is what Opacus wants.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            row_loss(self._wrapped(inputs)).sum().backward()
        missing = sum(parameter.grad_sample is None for parameter in self._trained)  # type: ignore[attr-defined]
        if missing:
            raise ModelError(f"{missing} trained parameters took no part in the pass; choose another model.part")
        with torch.no_grad():
            gradients = [patients.total(p.grad_sample.flatten(1)) for p in self._trained]  # type: ignore[attr-defined]
            squares = torch.stack([torch.linalg.vecdot(g, g) for g in gradients]).sum(0)
            factors, norms = clip_factors(squares, clip_norm)
            sums = [layers.weighted_sum(factors, g).view_as(p) for g, p in zip(gradients, self._trained, strict=True)]
        for parameter in self._trained:
            parameter.grad_sample = parameter.grad = None  # type: ignore[attr-defined]
        return sums, norms
