"""A hub names a norm so small that numbers of the processor end below it: what one patient adds is no longer bounded.

Clipped gradients are float32, whose smallest number is 1.4e-45: a patient whose two images cancel moved a sum by 44
times the clipping norm. Below 4e-301 the grid has no inverse in float64, and the sign of a sum left without any noise.
A sum of too many patients at once has the same fault: what float32 rounds off it hangs on one of them.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from common.config.statistics import LEAST_RESIDUAL
from common.config.study import LARGEST_BATCH, LEAST_NORM, ModelConfig, StudyConfig, from_dict, to_dict
from common.errors import ConfigError
from common.models.zoo import build_model
from common.privacy.engine import BookKeepingEngine, gradient_engine
from common.privacy.layers import Patients
from common.privacy.noise import GridNoise, NoiseSource
from common.privacy.randomness import Randomness
from common.privacy.statistics import residual_parts
from common.rows import RowLinear
from common.training.loop import _RowLoss

MOST = 1.0 + 2.0**-10


@pytest.mark.parametrize("norm", [1e-308, 1e-42, 3e-29, LEAST_NORM / 2, 1e30])
def test_a_hub_cannot_name_such_a_clipping_norm(norm: float) -> None:
    document = to_dict(StudyConfig())
    document["privacy"]["clip_norm"] = norm
    with pytest.raises(ConfigError, match=r"privacy\.clip_norm"):
        from_dict(document)


@pytest.mark.parametrize("residual", [1e-308, 1e-302, LEAST_RESIDUAL / 2])
def test_nor_such_a_residual(residual: float) -> None:
    document = to_dict(StudyConfig())
    document["training"]["statistics"]["residual"] = residual
    with pytest.raises(ConfigError, match=r"training\.statistics\.residual"):
        from_dict(document)


@pytest.mark.parametrize(("size", "bias"), [(1e18, -20.0), (1e25, -30.0), (1e29, -34.5)])
def test_under_the_least_norm_images_that_cancel_move_a_sum_by_no_more_than_it(size: float, bias: float) -> None:
    assert max(_moved(LEAST_NORM, size, bias, 1 + 0.13 * step) for step in range(1, 60)) <= MOST


def _moved(clip_norm: float, size: float, bias: float, ratio: float) -> float:
    """By how many clipping norms a patient of two images, of features ``size`` and against it, moves a head's sum."""
    head = RowLinear(1, 1)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(bias)
    head.bias.requires_grad_(False)
    inputs, share = torch.zeros(16, 1), torch.zeros(16)
    inputs[:2, 0], share[:2] = torch.tensor([size, -size * ratio]), torch.tensor([0.5, 0.5 / ratio])

    def loss(logits: torch.Tensor) -> torch.Tensor:
        target = torch.zeros(16)
        return functional.binary_cross_entropy_with_logits(logits.squeeze(-1), target, reduction="none") * share

    engine = BookKeepingEngine(head)
    patients = Patients(torch.tensor([0, *range(15)]), 15)
    (found,), _ = engine.clipped_sum(inputs, loss, patients, clip_norm)
    engine.close()
    return float(found.double().norm()) / clip_norm


def test_under_the_least_residual_a_sum_leaves_with_its_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(40, 6, generator=generator).double(), torch.arange(40) % 2 + 0.0
    total = residual_parts(rows, labels, torch.zeros(40), LEAST_RESIDUAL).sum(0).numpy()
    noise, streams = GridNoise(LEAST_RESIDUAL, 50.0), Randomness.from_seed(0)
    source = NoiseSource(noise, streams.noise)
    released = np.stack([noise.noisy(total, source) for _ in range(400)])
    assert np.isfinite(released).all() and 0.9 < (released - total).std() / noise.std < 1.1


def test_a_hub_cannot_have_a_whole_cohort_added_up_at_once() -> None:
    document = to_dict(StudyConfig())
    document["training"]["physical_batch"] = LARGEST_BATCH + 1
    with pytest.raises(ConfigError, match=r"training\.physical_batch"):
        from_dict(document)


@pytest.mark.parametrize("engine", ["book_keeping", "hooks"])
def test_one_of_as_many_patients_as_are_added_up_at_once_moves_a_sum_by_no_more_than_the_norm(engine: str) -> None:
    """They are all alike, so that what is rounded off adds up; of 60,000 one moved the sum by 1.003 norms."""
    model, generator = build_model(ModelConfig(name="linear"), (30,), 0), torch.Generator().manual_seed(0)
    for value in (0.2 + 0.7 * torch.rand(8, generator=generator)).tolist():
        sums = [_sum_of_alike(model, engine, value, LARGEST_BATCH - missing) for missing in range(3)]
        assert max(float((more - less).norm()) for more, less in itertools.pairwise(sums)) <= MOST


def _sum_of_alike(model: torch.nn.Module, engine: str, value: float, count: int) -> torch.Tensor:
    """In clipping norms."""
    loss, patients = _RowLoss(torch.zeros(count), torch.ones(count), None), Patients(torch.arange(count), count)
    with gradient_engine(engine, model) as used:
        found, _ = used.clipped_sum(torch.full((count, 30), value), loss, patients, 0.05)
    return torch.cat([part.flatten() for part in found]).double() / 0.05
