"""The one training loop, private and plain, against steps written out by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.config import ModelConfig, PrivacyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.models.parts import select_part
from common.models.zoo import Classifier, build_model
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.training import predict, train

TRAINING = TrainingConfig(rounds=2, batch_patients=6, local_steps=4, lr=0.5)
SIZES = (1, 3, 2, 5, 1, 4, 2, 1, 2, 3, 1, 2)


def _data(seed: int = 0) -> PatientTensors:
    generator = torch.Generator().manual_seed(seed)
    patient_of = torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))
    labels = (patient_of % 2).float()
    inputs = torch.randn(len(labels), 6, generator=generator) + labels[:, None]
    return PatientTensors(inputs, labels, patient_of, tuple(f"p{i}" for i in range(len(SIZES))))


def _model(name: str = "mlp") -> Classifier:
    return build_model(ModelConfig(name=name, width=4), (6,), 0)


def _plan(**changes: object) -> PrivacyPlan:
    plan = PrivacyPlan.for_site(PrivacyConfig(accountant="rdp", clip_norm=0.3), TRAINING, len(SIZES))
    return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]


def _weights(model: Classifier) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _trained(training: TrainingConfig = TRAINING, plan: PrivacyPlan | None = None, **keys: float) -> Tensor:
    model = _model()
    train(model, _data(), training, randomness=Randomness.from_seed(3), plan=plan, **keys)
    return _weights(model)


def _by_hand(plan: PrivacyPlan, mu: float = 0.0) -> Tensor:
    """DP-SGD over patients as its definition reads: no engine, no optimizer, one patient at a time."""
    model, data, randomness = _model(), _data(), Randomness.from_seed(3)
    parameters = list(model.parameters())
    start = [p.detach().clone() for p in parameters]
    for sample in plan.sample(data.num_patients, randomness.sampling):
        total = [torch.zeros_like(p) for p in parameters]
        for patient in sample.tolist():
            rows = data.patient_of == patient
            loss = F.binary_cross_entropy_with_logits(model(data.inputs[rows]), data.labels[rows])
            grads = torch.autograd.grad(loss, parameters)
            norm = torch.sqrt(sum((g**2).sum() for g in grads))
            for acc, grad in zip(total, grads, strict=True):
                acc += grad * min(1.0, plan.clip_norm / (float(norm) + 1e-6))
        with torch.no_grad():
            for p, acc, first in zip(parameters, total, start, strict=True):
                noise = torch.normal(0.0, plan.noise_multiplier * plan.clip_norm, acc.shape, generator=randomness.noise)
                p -= TRAINING.lr * ((acc + noise) / plan.expected_batch_patients + mu * (p - first))
    return _weights(model)


@pytest.mark.parametrize("engine", ["book_keeping", "hooks"])
def test_private_training_is_the_definition(engine: str) -> None:
    plan = _plan(engine=engine)
    torch.testing.assert_close(_trained(plan=plan), _by_hand(plan), rtol=1e-4, atol=1e-5)


def test_the_proximal_pull_survives_and_is_exact() -> None:
    plan = _plan()
    torch.testing.assert_close(_trained(plan=plan, proximal_mu=0.3), _by_hand(plan, 0.3), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(_trained(plan=plan, proximal_mu=0.3), _trained(plan=plan))


def test_physical_batches_change_memory_and_nothing_else() -> None:
    small = dataclasses.replace(TRAINING, physical_batch=2)
    torch.testing.assert_close(_trained(small, _plan()), _trained(plan=_plan()), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(_trained(small), _trained(), rtol=1e-5, atol=1e-6)


def test_empty_batches_are_noised_and_counted() -> None:
    plan = _plan(sampling_rate=1e-9, steps_per_round=7)
    model = _model()
    before = _weights(model)
    report = train(model, _data(), TRAINING, randomness=Randomness.from_seed(0), plan=plan)
    assert report.steps == 7
    assert bool((_weights(model) != before).all())


def test_the_noise_has_the_planned_size() -> None:
    plan = _plan(sampling_rate=1e-9, steps_per_round=1, noise_multiplier=3.0)
    moves = []
    for seed in range(40):
        model = _model()
        before = _weights(model)
        train(model, _data(), TRAINING, randomness=Randomness.from_seed(seed), plan=plan)
        moves.append(_weights(model) - before)
    expected = TRAINING.lr * 3.0 * plan.clip_norm / plan.expected_batch_patients
    # 40 x 33 draws: the standard deviation is known to 2 %.
    assert float(torch.cat(moves).std()) == pytest.approx(expected, rel=0.08)


def test_the_divisor_is_declared_and_not_counted() -> None:
    plan = _plan(sampling_rate=1.0, steps_per_round=1, noise_multiplier=1e-9)
    data = _data()
    keep = data.patient_of < 6
    half = PatientTensors(data.inputs[keep], data.labels[keep], data.patient_of[keep], data.patients[:6])
    moves = []
    for part in (data, half):
        model = _model()
        before = _weights(model)
        train(model, part, TRAINING, randomness=Randomness.from_seed(0), plan=plan)
        moves.append(float((_weights(model) - before).norm()))
    assert moves[1] < moves[0]
    assert moves[0] <= TRAINING.lr * len(SIZES) * plan.clip_norm / plan.expected_batch_patients * (1 + 1e-6)


def test_at_most_max_images_of_a_patient_enter_a_step() -> None:
    assert not torch.allclose(_trained(plan=_plan(max_images=1)), _trained(plan=_plan(max_images=8)))


def test_the_same_randomness_gives_the_same_bits() -> None:
    assert torch.equal(_trained(plan=_plan()), _trained(plan=_plan()))


def test_plain_training_learns_what_can_be_learned() -> None:
    model, data = _model(), _data()
    training = TrainingConfig(local_epochs=60.0, batch_patients=4, lr=0.02, optimizer="adam")
    train(model, data, training, randomness=Randomness.from_seed(0), plan=None)
    scores = predict(model, data)
    assert scores.shape == (data.num_patients,) and bool(((scores >= 0) & (scores <= 1)).all())
    labels = data.patient_labels().bool()
    assert float(scores[labels].mean()) > float(scores[~labels].mean()) + 0.3


def test_a_positive_weight_raises_the_scores() -> None:
    scores = []
    for weight in (None, 10.0):
        model = _model()
        training = TrainingConfig(local_epochs=20.0, batch_patients=4, lr=0.1, positive_weight=weight)
        train(model, _data(), training, randomness=Randomness.from_seed(0), plan=None)
        scores.append(float(predict(model, _data()).mean()))
    assert scores[1] > scores[0] + 0.1


def test_a_frozen_trunk_trains_the_same_head_from_kept_features() -> None:
    heads = []
    for augmenting in (False, True):  # tables are never augmented: the second takes the path without kept features
        model = _model()
        select_part(model, "head")
        training = dataclasses.replace(TRAINING, augment=augmenting)
        train(model, _data(), training, randomness=Randomness.from_seed(1), plan=_plan())
        heads.append(_weights(model))
    torch.testing.assert_close(*heads, rtol=1e-5, atol=1e-6)


def test_training_leaves_no_trace_but_the_weights() -> None:
    model = _model()
    names = list(model.state_dict())
    train(model, _data(), TRAINING, randomness=Randomness.from_seed(0), plan=_plan())
    assert list(model.state_dict()) == names and not model.training
    assert all(p.grad is None for p in model.parameters())
