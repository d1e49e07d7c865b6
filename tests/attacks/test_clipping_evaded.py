"""A hub chooses weights under which the terms of one patient's gradient cancel: rounding must not open the clipping.

Norms from Gram matrices lose a cancelled gradient in rounding, while the sum that is added keeps what the rounding of
huge terms left. With weights of 1e12 one patient once moved the sum by 384,511 times the clipping norm.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from common.privacy import layers
from common.privacy.engine import clip_factors
from common.privacy.layers import Patients, Piece

MOST = 1.0 + 2.0**-10
"""What the plan's sensitivity allows for float32 arithmetic, as a share of the clipping norm."""
seeds = st.integers(0, 2**32 - 1)
powers = st.integers(0, 15)


def _moved(piece: Piece, parameter: nn.Parameter) -> float:
    """How far one patient moves the sum of this layer alone, with a clipping norm of 1."""
    factors, _ = clip_factors(piece.squares, 1.0)
    return float(piece.weighted(factors)[parameter].detach().double().norm())


def _cancelling(terms: int, generator: torch.Generator, power: int) -> tuple[Tensor, Tensor]:
    """Returns sizes (T,) and weights (T,) whose products sum to nearly 0, of a size of 10**power."""
    sizes = torch.rand(terms, generator=generator, dtype=torch.float64) + 0.5
    weights = torch.randn(terms, generator=generator, dtype=torch.float64)
    weights -= sizes * (weights @ sizes) / (sizes @ sizes)
    return (sizes * 10.0**power).float(), weights.float()


@given(seeds, powers, st.sampled_from([2, 4, 5]))
@settings(max_examples=300, deadline=None)
def test_positions_that_cancel_in_a_convolution_move_the_sum_by_at_most_the_norm(
    seed: int, power: int, side: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Conv2d(64, 64, 1, bias=False)
    sizes, weights = _cancelling(side * side, generator, power)
    direction, way = torch.randn(64, generator=generator), torch.randn(64, generator=generator)
    inputs = torch.outer(direction, sizes).view(1, 64, side, side)
    grads = torch.outer(way, weights).view(1, 64, side, side)
    (piece,) = layers.conv2d(layer, inputs, grads, Patients(torch.zeros(1, dtype=torch.int64), 1))
    assert _moved(piece, layer.weight) <= MOST


@given(seeds, powers, st.integers(2, 8))
@settings(max_examples=300, deadline=None)
def test_images_of_a_patient_that_cancel_in_a_linear_layer_do_not_either(seed: int, power: int, images: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(32, 16, bias=False)
    sizes, weights = _cancelling(images, generator, power)
    inputs = torch.outer(sizes, torch.randn(32, generator=generator))
    grads = torch.outer(weights, torch.randn(16, generator=generator))
    (piece,) = layers.linear(layer, inputs, grads, Patients(torch.zeros(images, dtype=torch.int64), 1))
    assert _moved(piece, layer.weight) <= MOST


def _near_cancelling_images(patients: int) -> tuple[Tensor, Tensor]:
    """Two images a patient whose terms, of a size of 300, sum to a gradient of norm 1: (2 P, 32) and (2 P, 16)."""
    generator = torch.Generator().manual_seed(0)
    direction, way = (nn.functional.normalize(torch.randn(n, generator=generator), dim=0) for n in (32, 16))
    return torch.outer(torch.full((2 * patients,), 300.0), direction), torch.stack(
        [way, -way * (1 - 1 / 300)] * patients
    )


def _sum_with(bystander: float | None, conv: bool) -> Tensor:
    """The clipped sum of 40 such patients, and of one more whose own gradient is 0 and whose value is given."""
    inputs, grads = _near_cancelling_images(40)
    of_row, count = torch.arange(40).repeat_interleave(2), 40
    if bystander is not None:
        inputs, grads = torch.cat([inputs, torch.full((1, 32), bystander)]), torch.cat([grads, torch.zeros(1, 16)])
        of_row, count = torch.cat([of_row, torch.tensor([40])]), 41
    patients, layer = Patients(of_row, count), nn.Conv2d(32, 16, 1, bias=False) if conv else nn.Linear(32, 16, False)
    if conv:
        (piece,) = layers.conv2d(layer, inputs[:, :, None, None], grads[:, :, None, None], patients)
    else:
        (piece,) = layers.linear(layer, inputs, grads, patients)
    factors, _ = clip_factors(piece.squares, 1.0)
    return piece.weighted(factors)[layer.weight].detach().double()


@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("value", [1.0, 9e9, 2e10, 1e25, 3e38, float("inf"), float("nan")])
def test_nobody_s_values_choose_how_others_are_clipped(value: float, conv: bool) -> None:
    """A value beyond 1e10 in a step once changed the rule for all: it moved the sum by 36 times the clipping norm."""
    assert float((_sum_with(value, conv) - _sum_with(None, conv)).norm()) <= 1e-3


@given(seeds, st.integers(11, 37))
@settings(max_examples=100, deadline=None)
def test_the_range_of_floats_hides_no_term(seed: int, power: int) -> None:
    """A huge value without gradient beside a small one with: the square of the small one's share must not vanish."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(32, 16, bias=False)
    inputs, grads = torch.randn(2, 32, generator=generator), torch.randn(2, 16, generator=generator) * 100
    inputs[0] *= 10.0**power
    grads[0] = 0.0
    (piece,) = layers.linear(layer, inputs, grads, Patients(torch.zeros(2, dtype=torch.int64), 1))
    assert _moved(piece, layer.weight) <= MOST


@pytest.mark.parametrize("side", [2, 5])
def test_a_gradient_that_does_not_cancel_is_clipped_as_before(side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(64, 64, 1, bias=False)
    inputs, grads = (torch.randn(3, 64, side, side, generator=generator) for _ in range(2))
    (piece,) = layers.conv2d(layer, inputs, grads, Patients(torch.arange(3), 3))
    exact = torch.stack([torch.einsum("cxy,oxy->oc", a, g).norm() for a, g in zip(inputs, grads, strict=True)])
    assert torch.all(piece.squares.sqrt() >= exact * (1 - 1e-6))
    assert torch.all(piece.squares.sqrt() <= exact * 1.01)
