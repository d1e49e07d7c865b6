"""A hub chooses weights that blow rounding up: how many patients are in a step must not choose another one's gradient.

Libraries of matrices take other ways for few rows, so a row's last bits hang on how many there are. Under weights that
cancel, those bits are all that is left of a logit, and with them a gradient of the clipping norm comes or goes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.config.study import ModelConfig, PrivacyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.models.zoo import Classifier, build_model
from common.privacy.engine import gradient_engine
from common.privacy.noise import ARITHMETIC
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.training.loop import _batches, _RowLoss, predict

CLIP = 1.0
TRAINING = TrainingConfig(rounds=1, local_steps=1, batch_patients=100)
PLAN = PrivacyPlan.for_site(PrivacyConfig(epsilon=8.0, clip_norm=CLIP, accountant="rdp"), TRAINING, 100)


def _cancelling() -> Classifier:
    """Four channels of the last layer whose sum with signs is 0 but for rounding, which the head makes large."""
    model = build_model(ModelConfig(name="small_cnn"), (1, 32, 32), 0)
    model.requires_grad_(True)
    state = model.state_dict()
    kernels = torch.randint(-8, 9, state["trunk.3.conv.weight"].shape, generator=torch.Generator().manual_seed(5)) / 8.0
    kernels[3] = kernels[0] + kernels[1] - kernels[2]
    head = torch.zeros_like(state["head.weight"])
    head[0, :4] = torch.tensor([1.0, 1.0, -1.0, -1.0]) * 1e10
    chosen = {"trunk.3.conv.weight": kernels, "trunk.3.norm.bias": torch.full_like(state["trunk.3.norm.bias"], 16.0)}
    model.load_state_dict(state | chosen | {"head.weight": head, "head.bias": torch.zeros(1)})
    return model


def _cancelling_head() -> Classifier:
    """Features that are all the same number, and a head whose weights sum to 0: what is left is the head's rounding."""
    model = build_model(ModelConfig(name="small_cnn"), (1, 32, 32), 0)
    model.requires_grad_(True)
    state = model.state_dict()
    kernels, shift = state["trunk.3.conv.weight"], state["trunk.3.norm.bias"]
    head = torch.randn(32, generator=torch.Generator().manual_seed(3))
    head[31] = -head[:31].sum()
    chosen = {"trunk.3.conv.weight": kernels[:1].expand_as(kernels), "trunk.3.norm.bias": torch.full_like(shift, 3.0)}
    model.load_state_dict(state | chosen | {"head.weight": head[None] * 1e10, "head.bias": torch.zeros(1)})
    return model


def _sum(model: Classifier, inputs: Tensor) -> Tensor:
    """The sum of a private step that draws all these patients, before noise, float64."""
    count = len(inputs)
    data = PatientTensors(inputs, torch.zeros(count), torch.arange(count), tuple(map(str, range(count))))
    (step,) = _batches(data, TRAINING, Randomness.from_seed(0), PLAN)
    with gradient_engine(PLAN.engine, model) as engine:
        found = [
            engine.clipped_sum(
                data.inputs[part.rows], _RowLoss(data.labels[part.rows], part.share, None), part.patients, CLIP
            )[0]
            for part in step
        ]
    return torch.stack([torch.cat([p.double().flatten() for p in sums]) for sums in found]).sum(0)


def test_a_second_patient_moves_the_sum_by_her_own_gradient() -> None:
    """Before: some sums of two patients were nearly twice the clipping norm away from that of one of them."""
    model = _cancelling()
    moved = []
    for seed in range(100):
        inputs = torch.randn((2, 1, 32, 32), generator=torch.Generator().manual_seed(seed))
        moved.append(float((_sum(model, inputs) - _sum(model, inputs[:1])).norm()))
    assert max(moved) <= CLIP * (1 + ARITHMETIC)
    assert max(moved) > 0.9 * CLIP, "the attack's weights give nobody a gradient, and the test says nothing"


def test_one_patient_more_moves_nobody_s_logit() -> None:
    """Before: the last rows of a step, which fill no block of the library's, had another logit in the head."""
    model = _cancelling_head()
    for seed in range(10):
        inputs = torch.randn((41, 1, 32, 32), generator=torch.Generator().manual_seed(seed))
        for count in (1, 16, 17, 24, 31, 32, 40):
            moved = float((_sum(model, inputs[: count + 1]) - _sum(model, inputs[:count])).norm())
            assert moved <= CLIP * (1 + ARITHMETIC), count


def test_one_patient_more_moves_nobody_s_score() -> None:
    """Before: other patients' scores went from 0 to 1, so noise for one patient's count did not cover her."""
    model = _cancelling_head()
    for seed in range(5):
        inputs = torch.randn((131, 1, 32, 32), generator=torch.Generator().manual_seed(seed))
        for count in (12, 17, 20, 31, 50, 65, 131):
            for gone in (0, count // 2, count - 1):
                rest = [index for index in range(count) if index != gone]
                assert torch.equal(_scores(model, inputs[:count])[rest], _scores(model, inputs[rest])), (count, gone)


def _scores(model: Classifier, inputs: Tensor) -> Tensor:
    count = len(inputs)
    return predict(
        model, PatientTensors(inputs, torch.zeros(count), torch.arange(count), tuple(map(str, range(count))))
    )


def _residuals(logits: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    _RowLoss(torch.zeros(len(logits)), torch.ones(len(logits)), None)(logits).sum().backward()
    assert logits.grad is not None
    return logits.grad


def test_one_patient_less_moves_nobody_s_residual() -> None:
    """At this logit the residuals of 31 of 63 patients had another last bit than the same ones among 64."""
    for logits in (torch.full((64,), -5.949), torch.randn(64, generator=torch.Generator().manual_seed(0)) * 4):
        together = _residuals(logits)
        assert all(torch.equal(together[:count], _residuals(logits[:count])) for count in range(16, 64))
