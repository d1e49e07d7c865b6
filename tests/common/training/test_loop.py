"""The one training loop, private and plain, against steps written out by hand."""

from __future__ import annotations

import dataclasses
import gc
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.config.study import ModelConfig, PrivacyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.models.parts import select_part
from common.models.zoo import Classifier, build_model
from common.privacy.noise import NoiseSource
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.training.loop import predict, train

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


def _noise(plan: PrivacyPlan, values: int, source: NoiseSource) -> Tensor:
    """The noise of the next step, float64 (values,)."""
    return torch.from_numpy(np.concatenate([block.copy() for block in source.draw_step(values)])) * plan.noise.grid


def _by_hand(plan: PrivacyPlan, mu: float = 0.0) -> Tensor:
    """DP-SGD over patients as its definition reads, in float64: no engine, no optimizer, one patient at a time."""
    model, data, randomness = _model().double(), _data(), Randomness.from_seed(3)
    parameters = list(model.parameters())
    start, source = [p.detach().clone() for p in parameters], NoiseSource(plan.noise, randomness.noise)
    for sample in plan.sample(data.num_patients, randomness.sampling):
        total = [torch.zeros_like(p) for p in parameters]
        for patient in sample.tolist():
            rows = (data.patient_of == patient).nonzero().flatten()
            if len(rows) > plan.max_images:
                rows = rows[torch.from_numpy(randomness.images.permutation(len(rows))[: plan.max_images])]
            loss = F.binary_cross_entropy_with_logits(model(data.inputs[rows].double()), data.labels[rows].double())
            grads = torch.autograd.grad(loss, parameters)
            norm = torch.sqrt(sum((g**2).sum() for g in grads))
            for acc, grad in zip(total, grads, strict=True):
                acc += grad * min(1.0, plan.clip_norm / (float(norm) + 1e-6))
        drawn = _noise(plan, sum(p.numel() for p in parameters), source).split([p.numel() for p in parameters])
        with torch.no_grad():
            for p, acc, first, noise in zip(parameters, total, start, drawn, strict=True):
                noised = (acc + noise.view_as(acc)) / plan.expected_batch_patients
                p -= TRAINING.lr * (noised + mu * (p - first))
    return _weights(model).float()


@pytest.mark.parametrize("max_images", [1, 2, 8])
@pytest.mark.parametrize("engine", ["book_keeping", "hooks"])
def test_private_training_is_the_definition(engine: str, max_images: int) -> None:
    plan = _plan(engine=engine, max_images=max_images)
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
    expected = TRAINING.lr * 3.0 * plan.noise.sensitivity / plan.expected_batch_patients
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


@pytest.mark.parametrize("present", [11, 12])
def test_what_is_charged_is_what_runs_whoever_is_present(present: int) -> None:
    """The hub sees neither in steps nor in charge whether a patient was there."""
    plan, data = _plan(), _data()
    keep = data.patient_of < present
    some = PatientTensors(data.inputs[keep], data.labels[keep], data.patient_of[keep], data.patients[:present])
    randomness, reference = Randomness.from_seed(3), Randomness.from_seed(3)
    model = _model()
    report = train(model, some, TRAINING, randomness=randomness, plan=plan)
    assert report.steps == plan.event().steps == TRAINING.local_steps
    source = NoiseSource(plan.noise, reference.noise)
    for _ in range(report.steps):
        _noise(plan, _weights(model).numel(), source)
    assert randomness.noise.words(2).tolist() == reference.noise.words(2).tolist()


def test_the_same_randomness_gives_the_same_bits() -> None:
    assert torch.equal(_trained(plan=_plan()), _trained(plan=_plan()))


def test_dropout_follows_the_randomness_of_the_call_and_leaves_the_global_generator_alone() -> None:
    results = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        model = build_model(ModelConfig(name="mlp", width=4, dropout=0.4), (6,), 0)
        train(model, _data(), TRAINING, randomness=Randomness.from_seed(3), plan=_plan())
        assert torch.equal(torch.get_rng_state(), before)
        results.append(_weights(model))
    assert torch.equal(*results)


def test_another_process_gets_the_same_bits(project_root: Path) -> None:
    code = (
        "import hashlib, torch; torch.set_num_threads(1);"
        "from common.config.study import *; from common.data.loading import PatientTensors;"
        "from common.models.zoo import *;"
        "from common.privacy.plan import PrivacyPlan; from common.privacy.randomness import Randomness;"
        "from common.training.loop import train;"
        "t = TrainingConfig(rounds=1, batch_patients=6, local_steps=3, physical_batch=8, augment=True);"
        "x = torch.randn(18, 1, 28, 28, generator=torch.Generator().manual_seed(0));"
        "of = torch.arange(9).repeat_interleave(2); d = PatientTensors(x, of % 2 + 0.0, of, tuple('abcdefghi'));"
        "m = build_model(ModelConfig(name='small_cnn', dropout=0.2), (1, 28, 28), 0);"
        "p = PrivacyPlan.for_site(PrivacyConfig(accountant='rdp'), t, 9);"
        "train(m, d, t, randomness=Randomness.from_seed(3), plan=p);"
        "w = torch.cat([p.detach().flatten() for p in m.parameters()]);"
        "print(hashlib.sha256(w.numpy().tobytes()).hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=project_root, check=True, capture_output=True, text=True)
        for _ in range(2)
    ]
    assert len(runs[0].stdout) > 60 and runs[0].stdout == runs[1].stdout


def test_kept_features_do_not_outlive_their_images() -> None:
    model, data = _model(), _data()
    select_part(model, "head")
    predict(model, data)
    images = weakref.ref(data.inputs)
    del data
    gc.collect()
    assert images() is None


def test_images_changed_in_place_are_looked_at_again() -> None:
    model, data = _model(), _data()
    select_part(model, "head")
    before = predict(model, data)
    data.inputs.neg_()
    assert not torch.allclose(predict(model, data), before)


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


def test_kept_features_are_those_of_the_images_asked_for() -> None:
    """Two data sets of one shape, a second look, and other frozen weights: never another's features."""
    for width in (4, 4, 6):
        model = build_model(ModelConfig(name="mlp", width=width), (6,), width)
        select_part(model, "head")
        for data in (_data(0), _data(1)):
            with torch.no_grad():
                scores = model(data.inputs).sigmoid()
            expected = torch.stack([scores[rows].mean() for rows in data.rows_of(torch.arange(data.num_patients))])
            for _ in range(2):
                torch.testing.assert_close(predict(model, data), expected)


def test_frozen_weights_that_change_are_noticed() -> None:
    model, data = _model(), _data()
    select_part(model, "head")
    before = predict(model, data)
    with torch.no_grad():
        for parameter in model.trunk.parameters():
            parameter += 0.3
    assert not torch.allclose(predict(model, data), before)


def test_only_the_trained_part_moves() -> None:
    model = _model()
    select_part(model, "head")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, _data(), TRAINING, randomness=Randomness.from_seed(0), plan=_plan())
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"head.weight", "head.bias"}


@pytest.mark.parametrize("part", ["all", "head"])
@pytest.mark.parametrize("engine", ["book_keeping", "hooks"])
def test_training_leaves_no_trace_but_the_weights(engine: str, part: str) -> None:
    """Sums before noise are private: no attribute of a model or a parameter may keep one."""
    model = _model()
    select_part(model, part)  # type: ignore[arg-type]
    names, attributes = list(model.state_dict()), [set(vars(m)) for m in model.modules()]
    train(model, _data(), TRAINING, randomness=Randomness.from_seed(0), plan=_plan(engine=engine))
    assert list(model.state_dict()) == names and not any(m.training for m in model.modules())
    assert [set(vars(m)) for m in model.modules()] == attributes
    assert all(p.grad is None and vars(p) == {} for p in model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in model.modules())
