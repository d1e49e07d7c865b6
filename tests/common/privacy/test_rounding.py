"""float32 moves a sum of clipped gradients by less than the share of the sensitivity that is set aside for it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.config.study import ModelConfig
from common.models.zoo import build_model
from common.privacy.engine import gradient_engine
from common.privacy.layers import Patients
from common.privacy.noise import ARITHMETIC

CLIP = 0.5
PATIENTS = 24


def _sum(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    """The clipped sum of patients with one image each, every second one malignant, in float64."""
    labels = (torch.arange(len(inputs)) % 2).to(inputs.dtype)
    patients = Patients(torch.arange(len(inputs)), len(inputs))
    with gradient_engine("book_keeping", model) as engine:
        sums, _ = engine.clipped_sum(
            inputs, lambda z: F.binary_cross_entropy_with_logits(z, labels, reduction="none"), patients, CLIP
        )
    return torch.cat([part.double().flatten() for part in sums])


@pytest.mark.parametrize("name", ["small_cnn", "mobilenet_v3_small", "resnet18"])
def test_one_patient_more_moves_the_sum_by_the_clip_and_rounding_at_most(name: str) -> None:
    """Every patient is clipped, so each moves the sum by exactly C but for arithmetic."""
    model = build_model(ModelConfig(name=name), (1, 32, 32), 0)
    model.requires_grad_(True)
    inputs = torch.randn((PATIENTS, 1, 32, 32), generator=torch.Generator().manual_seed(1)) * 4
    sums = [_sum(model, inputs[:count]) for count in (1, 2, 7, PATIENTS - 1, PATIENTS)]
    moved = [float(sums[0].norm()), float((sums[1] - sums[0]).norm()), float((sums[-1] - sums[-2]).norm())]
    assert max(moved) <= CLIP * (1 + ARITHMETIC)
    assert max(moved) > 0.5 * CLIP  # or nothing was clipped, and the test says nothing
