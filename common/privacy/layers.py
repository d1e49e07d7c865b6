"""Per-patient gradients of single layers, for the book-keeping engine (Bu et al. 2023, section 3).

Each rule turns a layer's input and the gradient of its output into a :class:`Piece`: the squared norm of each
patient's gradient, and a way to sum those gradients with weights. Which of several exact ways is taken depends on
shapes alone, so that two processes take the same one and get the same bits.

Rows are images, sorted by patient; the loss of an image is already divided by the images of its patient, so a
patient's gradient is the sum over its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_conv_backward = torch.ops.aten.convolution_backward
Sums = dict[Tensor, Tensor]
"""Sum by parameter."""


@dataclass(frozen=True, slots=True)
class Patients:
    """Which rows belong to which patient: ``of_row`` int64 (N,), ascending, and how many patients there are."""

    of_row: Tensor
    count: int

    def to(self, device: torch.device) -> Patients:
        """Returns the same patients for rows that lie on ``device``."""
        return Patients(self.of_row.to(device), self.count)

    @property
    def single(self) -> bool:
        """Whether every patient has exactly one row."""
        return self.count == len(self.of_row)

    def total(self, rows: Tensor) -> Tensor:
        """Returns the sum of ``rows`` (N, ...) within each patient, (P, ...)."""
        if self.single:
            return rows
        out = rows.new_zeros((self.count, *rows.shape[1:]))
        return out.index_add_(0, self.of_row, rows)

    def padded(self, rows: Tensor) -> Tensor:
        """Returns ``rows`` (N, ...) as (P, m, ...), zeros where a patient has fewer than m rows."""
        if self.single:
            return rows.unsqueeze(1)
        sizes = torch.bincount(self.of_row, minlength=self.count)
        first = torch.cumsum(sizes, 0) - sizes
        place = torch.arange(len(self.of_row), device=rows.device) - first[self.of_row]
        out = rows.new_zeros((self.count, int(sizes.max()), *rows.shape[1:]))
        out[self.of_row, place] = rows
        return out

    def within(self, rows: Tensor, bound: float) -> Tensor:
        """Returns for whom no value of ``rows`` (N, ...) is larger than ``bound`` or not-a-number, bool (P,)."""
        beyond = ~(rows.flatten(1).abs().amax(1) <= bound)
        return self.total(beyond.to(torch.int64)) == 0

    def slices(self) -> list[slice]:
        """Returns the rows of each patient."""
        ends = torch.cumsum(torch.bincount(self.of_row, minlength=self.count), 0).tolist()
        return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


@dataclass(frozen=True, slots=True)
class Piece:
    """A layer's share: ``squares`` (P,) and ``weighted``, which sums the patients' gradients with weights (P,)."""

    squares: Tensor
    weighted: Callable[[Tensor], Sums]


def present(weights: Tensor, rows: Tensor) -> Tensor:
    """Returns ``rows`` (N, ...) with zeros where ``weights`` (N,) are zero, whatever stood there: 0 * inf is nan."""
    absent = weights == 0
    return rows.masked_fill(absent.view(-1, *[1] * (rows.dim() - 1)), 0.0) if bool(absent.any()) else rows


def weighted_sum(weights: Tensor, gradients: Tensor) -> Tensor:
    """Returns the sum over patients of ``weights`` (P,) times ``gradients`` (P, D); a weight of zero removes a row."""
    return weights @ present(weights, gradients)


def instantiated(parameter: Tensor, gradients: Tensor) -> Piece:
    """Returns the piece of gradients that are at hand, (P, *parameter.shape)."""
    flat = gradients.flatten(1)
    squares = torch.linalg.vecdot(flat, flat)
    return Piece(squares, lambda weights: {parameter: weighted_sum(weights, flat).view_as(parameter)})


def gram_squares(inputs: Tensor, grads: Tensor, taps: Tensor, outs: Tensor, patients: Patients) -> Tensor:
    """Returns squared norms (P,) of sums of outer products, from Gram matrices, that rounding cannot make too small.

    A patient with values whose squares leave float32's range gets float64, and one with values that leave the range of
    the sum as well an infinite norm. Either hangs on that patient alone: nobody's values choose how another is clipped.

    Args:
        inputs: Of the layer, (N, ...).
        grads: Of its output, (N, ...).
        taps: What ``inputs`` are at each term, (P, t, K).
        outs: What ``grads`` are at each term, (P, t, O).
        patients: Whose rows they are.
    """
    eps = torch.finfo(taps.dtype).eps
    squares = _bounded_gram(taps, outs, eps)
    wide = ~(patients.within(inputs, _SQUARABLE) & patients.within(grads, _SQUARABLE))
    if bool(wide.any()):
        squares[wide] = _bounded_gram(taps[wide].double(), outs[wide].double(), eps).to(squares.dtype)
        squares[~(patients.within(inputs, _SUMMABLE) & patients.within(grads, _SUMMABLE))] = torch.inf
    return squares


def _bounded_gram(taps: Tensor, outs: Tensor, eps: float) -> Tensor:
    """Squared norms (P,) and a share of the squared sizes of the terms, in ``eps`` of the sum's own type.

    Where the terms of a gradient cancel, its square from Gram matrices is lost in rounding, and so is the sum that is
    added: a hub can choose weights under which one patient's terms cancel, and the norm would let through whatever the
    rounding left. Both errors are at most a small multiple of the unit roundoff times the terms' sizes (Higham 2002,
    section 3.1), so a share of those is added, and what is let through stays bounded.
    """
    by_taps, by_outs = torch.bmm(taps, taps.transpose(1, 2)), torch.bmm(outs, outs.transpose(1, 2))
    sizes = (by_taps.diagonal(dim1=1, dim2=2) * by_outs.diagonal(dim1=1, dim2=2)).sqrt().sum(1)
    return (by_taps * by_outs).sum((1, 2)).clamp(min=0) + _ROUNDING_UNITS * eps * sizes.square()


_SQUARABLE = 1e10
"""Up to here the square of no value is so large that the square of its partner could vanish in float32's range."""
_SUMMABLE = 1e30
"""Up to here what a value is multiplied by in a clipped sum is no denormal number, of which rounding leaves nothing."""
_ROUNDING_UNITS = 2.0**11
"""In float32 2^-12 of the square of the sizes: under one per cent of the norm where 64 terms do not cancel at all."""


def conv2d(layer: nn.Conv2d, inputs: Tensor, grads: Tensor, patients: Patients) -> list[Piece]:
    """Returns the pieces of a convolution; ``inputs`` (N, C, H, W), ``grads`` (N, O, h, w)."""
    pieces = []
    if layer.weight.requires_grad:
        pieces.append(_conv_weight(layer, inputs, grads, patients))
    if layer.bias is not None and layer.bias.requires_grad:
        pieces.append(instantiated(layer.bias, patients.total(grads.sum((2, 3)))))
    return pieces


def _conv_weight(layer: nn.Conv2d, inputs: Tensor, grads: Tensor, patients: Patients) -> Piece:
    if layer.groups > 1:
        return instantiated(layer.weight, patients.total(_grads_folded(layer, inputs, grads)))
    positions, outputs, taps = grads.shape[2] * grads.shape[3], layer.out_channels, layer.weight[0].numel()
    if positions * (outputs + taps) < outputs * taps:
        return _conv_gram(layer, inputs, grads, patients)
    if positions >= _LOOP_POSITIONS and inputs.device.type == "cpu":
        return instantiated(layer.weight, _grads_by_patient(layer, inputs, grads, patients))
    return instantiated(layer.weight, patients.total(_grads_unfolded(layer, inputs, grads)))


_LOOP_POSITIONS = 512
"""From so many output positions on, one library call a patient beats unfolding the input (measured, two CPU cores). On
other devices many small calls leave the processor idle."""


def weight_grad(layer: nn.Conv2d, inputs: Tensor, grads: Tensor) -> Tensor:
    """Returns the weight gradient summed over rows, as the library computes it."""
    result: Tensor = _conv_backward(
        grads, inputs, layer.weight, None, layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups,
        [False, True, False],
    )[1]  # fmt: skip
    return result


def _grads_by_patient(layer: nn.Conv2d, inputs: Tensor, grads: Tensor, patients: Patients) -> Tensor:
    out = grads.new_empty((patients.count, *layer.weight.shape))
    for index, rows in enumerate(patients.slices()):
        out[index] = weight_grad(layer, inputs[rows], grads[rows])
    return out


def _grads_folded(layer: nn.Conv2d, inputs: Tensor, grads: Tensor) -> Tensor:
    """Every row becomes groups of one wide grouped convolution, so one call gives all rows' gradients."""
    rows = len(inputs)
    wide = _conv_backward(
        grads.reshape(1, -1, *grads.shape[2:]), inputs.reshape(1, -1, *inputs.shape[2:]),
        layer.weight.repeat(rows, 1, 1, 1), None, layer.stride, layer.padding, layer.dilation, False, [0, 0],
        layer.groups * rows, [False, True, False],
    )[1]  # fmt: skip
    result: Tensor = wide.view(rows, *layer.weight.shape)
    return result


def _unfolded(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """Returns the taps of each output position, (N, C*k*k, T)."""
    if layer.kernel_size == (1, 1) and layer.padding == (0, 0):
        strided = inputs[:, :, :: layer.stride[0], :: layer.stride[1]]
        return strided.reshape(*strided.shape[:2], -1)
    padding = layer.padding
    if isinstance(padding, str):
        raise TypeError("Convolutions with padding given as a word are not supported")
    return F.unfold(inputs, layer.kernel_size, layer.dilation, padding, layer.stride)


def _grads_unfolded(layer: nn.Conv2d, inputs: Tensor, grads: Tensor) -> Tensor:
    taps = _unfolded(layer, inputs)
    return torch.bmm(grads.flatten(2), taps.transpose(1, 2)).view(len(inputs), *layer.weight.shape)


def _conv_gram(layer: nn.Conv2d, inputs: Tensor, grads: Tensor, patients: Patients) -> Piece:
    """Norms from Gram matrices, without any gradient of the weight's size; the sum is one plain weight gradient."""
    taps = patients.padded(_unfolded(layer, inputs).transpose(1, 2)).flatten(1, 2)
    outs = patients.padded(grads.flatten(2).transpose(1, 2)).flatten(1, 2)
    squares = gram_squares(inputs, grads, taps, outs, patients)

    def weighted(weights: Tensor) -> Sums:
        by_row = weights[patients.of_row]
        scaled = present(by_row, grads) * by_row.view(-1, 1, 1, 1)
        return {layer.weight: weight_grad(layer, present(by_row, inputs), scaled)}

    return Piece(squares, weighted)


def linear(layer: nn.Linear, inputs: Tensor, grads: Tensor, patients: Patients) -> list[Piece]:
    """Returns the pieces of a linear layer; ``inputs`` (N, ..., F), ``grads`` (N, ..., O)."""
    pieces = []
    if layer.weight.requires_grad:
        rule = _linear_gram if inputs.dim() == 2 else _linear_full
        pieces.append(rule(layer, inputs, grads, patients))
    if layer.bias is not None and layer.bias.requires_grad:
        per_row = grads.flatten(1, -2).sum(1) if grads.dim() > 2 else grads
        pieces.append(instantiated(layer.bias, patients.total(per_row)))
    return pieces


def _linear_gram(layer: nn.Linear, inputs: Tensor, grads: Tensor, patients: Patients) -> Piece:
    squares = gram_squares(inputs, grads, patients.padded(inputs), patients.padded(grads), patients)

    def weighted(weights: Tensor) -> Sums:
        by_row = weights[patients.of_row]
        scaled = present(by_row, grads) * by_row[:, None]
        return {layer.weight: scaled.T @ present(by_row, inputs)}

    return Piece(squares, weighted)


def _linear_full(layer: nn.Linear, inputs: Tensor, grads: Tensor, patients: Patients) -> Piece:
    outs, taps = (part.flatten(1, -2) for part in (grads, inputs))
    rows = torch.bmm(outs.transpose(1, 2), taps)
    return instantiated(layer.weight, patients.total(rows))


def affine(layer: nn.GroupNorm | nn.LayerNorm, normalised: Tensor, grads: Tensor, patients: Patients) -> list[Piece]:
    """Returns the pieces of a normalisation layer from its normalised input, of ``grads``' shape."""
    keep = grads.dim() - len(layer.normalized_shape) if isinstance(layer, nn.LayerNorm) else 2
    per_row = tuple(range(1, keep)) if isinstance(layer, nn.LayerNorm) else tuple(range(2, grads.dim()))
    pieces = []
    for parameter, values in ((layer.weight, grads * normalised), (layer.bias, grads)):
        if parameter is not None and parameter.requires_grad:
            rows = values.sum(per_row) if per_row else values
            pieces.append(instantiated(parameter, patients.total(rows)))
    return pieces
