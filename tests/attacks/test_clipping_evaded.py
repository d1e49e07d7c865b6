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


@pytest.mark.parametrize("side", [2, 5])
def test_a_gradient_that_does_not_cancel_is_clipped_as_before(side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(64, 64, 1, bias=False)
    inputs, grads = (torch.randn(3, 64, side, side, generator=generator) for _ in range(2))
    (piece,) = layers.conv2d(layer, inputs, grads, Patients(torch.arange(3), 3))
    exact = torch.stack([torch.einsum("cxy,oxy->oc", a, g).norm() for a, g in zip(inputs, grads, strict=True)])
    assert torch.all(piece.squares.sqrt() >= exact * (1 - 1e-6))
    assert torch.all(piece.squares.sqrt() <= exact * 1.01)
