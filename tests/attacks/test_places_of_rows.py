"""A hub chooses what blows rounding up: where a patient stands among the others must not choose another one's part.

Libraries of matrices take several ways through one product, by place of a row and by how many rows there are. With
numbers that cancel, those last bits are all that is left of a patient's coordinates or logit. Then one patient less
moves everybody who stands behind, each by as much as the clip lets through: many times the sensitivity.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.config.statistics import StatisticsConfig
from common.config.study import (
    EvaluationConfig,
    ModelConfig,
    PrivacyConfig,
    StrategyConfig,
    StudyConfig,
    TrainingConfig,
)
from common.data.loading import PatientTensors
from common.models.basis import PublicBasis
from common.models.classifier import Classifier
from common.models.feature_maps import FeatureMaps
from common.models.linearised import PublicCoordinates
from common.models.parts import select_part
from common.models.statistics_head import StatisticsHead, public_eigenvalues
from common.models.zoo import build_model
from common.privacy.engine import gradient_engine
from common.privacy.layers import Patients
from common.privacy.noise import ARITHMETIC
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.privacy.statistics import sensitivities
from common.rows import RowLinear, by_rows
from common.training.loop import _batches, _RowLoss, predict
from common.training.statistics import round_sum
from common.training.statistics_rule import head_settings

CLIP = 1.0
STEP = TrainingConfig(rounds=1, local_steps=1, batch_patients=100)
SUMS = StudyConfig(
    model=ModelConfig(part="head"),
    training=TrainingConfig(
        method="statistics", rounds=4, statistics=StatisticsConfig(release="steps", axes=192, spread_axes=192)
    ),
    strategy=StrategyConfig(weighting="equal"),
    evaluation=EvaluationConfig(local_baseline=False, select_by="last"),
)


def _cohort(inputs: Tensor) -> PatientTensors:
    count = len(inputs)
    return PatientTensors(inputs, torch.zeros(count), torch.arange(count), tuple(map(str, range(count))))


def _without(rows: Tensor, gone: int) -> Tensor:
    return torch.cat([rows[:gone], rows[gone + 1 :]])


def _drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _hostile_coordinates(axes: int) -> Classifier:
    """A basis far from the features, whose directions cancel: what is left of each coordinate is rounding."""
    network = build_model(ModelConfig(name="small_cnn", width=4, part="last_block"), (1, 32, 32), 0)
    maps = FeatureMaps(network, "3", seed=0, size=64)
    size = network.head.in_features
    directions = _drawn((size, axes), 3).double()
    directions[-1] = -directions[:-1].sum(0)
    mean, spread = np.full(size, -1e6, np.float32), np.full(axes, 1e-6)
    basis = PublicBasis(mean, (directions * 1e6).float().numpy(), spread)
    model = Classifier(PublicCoordinates(maps, "last", basis), axes, channels=1)
    model.add_module("head", StatisticsHead(public_eigenvalues(model.trunk), head_settings(SUMS, axes)))
    select_part(model, "head")
    return model


@pytest.mark.parametrize("axes", [1, 5, 6, 7, 9, 64])
def test_one_patient_less_moves_a_sum_by_no_more_than_its_sensitivity(axes: int) -> None:
    """Before: with seven axes the spread sum of 40 patients moved by 12 times its sensitivity."""
    model, moved = _hostile_coordinates(axes), list[float]()
    images = torch.rand((40, 1, 32, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1
    for count in (17, 19, 31, 40):
        whole = round_sum(model, _cohort(images[:count].clone()), SUMS, 1)
        for gone in (0, count // 2, count - 1):
            rest = round_sum(model, _cohort(_without(images[:count], gone)), SUMS, 1)
            moved.append(float((whole - rest).norm()))
    assert max(moved) <= sensitivities(4, 0.6)[0] * (1 + ARITHMETIC)


def _cancelling_table(width: int) -> Classifier:
    """Hidden units that are all the same number, and a head whose weights sum to 0: what is left is their rounding."""
    model = build_model(ModelConfig(name="mlp", width=width), (30,), 0)
    state = model.state_dict()
    head = _drawn((width,), 3)
    head[-1] = -head[:-1].sum()
    kernel = _drawn((1, 30), 4).expand(width, 30) / 10
    chosen = {"trunk.0.weight": kernel, "head.weight": head[None] * 1e10, "head.bias": torch.zeros(1)}
    model.load_state_dict(state | chosen | {"trunk.0.bias": torch.zeros(width)})
    return model.requires_grad_(True)


def _cancelling_images() -> Classifier:
    """The same with pooled features of a network of images."""
    model = build_model(ModelConfig(name="small_cnn"), (1, 32, 32), 0).requires_grad_(True)
    state = model.state_dict()
    kernels, shift = state["trunk.3.conv.weight"], state["trunk.3.norm.bias"]
    head = _drawn((32,), 3)
    head[31] = -head[:31].sum()
    chosen = {"trunk.3.conv.weight": kernels[:1].expand_as(kernels), "trunk.3.norm.bias": torch.full_like(shift, 3.0)}
    model.load_state_dict(state | chosen | {"head.weight": head[None] * 1e10, "head.bias": torch.zeros(1)})
    return model


def _step(model: Classifier, inputs: Tensor, engine: str) -> Tensor:
    """The sum of a private step that draws all these patients, before noise, float64."""
    plan = PrivacyPlan.for_site(PrivacyConfig(epsilon=8.0, clip_norm=CLIP, accountant="rdp"), STEP, 100)
    data = _cohort(inputs)
    (step,) = _batches(data, STEP, Randomness.from_seed(0), dataclasses.replace(plan, engine=engine))
    with gradient_engine(engine, model) as taken:
        found = [
            taken.clipped_sum(
                data.inputs[part.rows], _RowLoss(data.labels[part.rows], part.share, None), part.patients, CLIP
            )[0]
            for part in step
        ]
    return torch.stack([torch.cat([p.double().flatten() for p in sums]) for sums in found]).sum(0)


@pytest.mark.parametrize("engine", ["book_keeping", "hooks"])
@pytest.mark.parametrize("width", [4, 5, 7, 8, 33])
def test_one_patient_less_moves_a_step_of_a_table_by_no_more_than_the_clip(width: int, engine: str) -> None:
    """Before: a step of 41 patients moved by 28 times the clipping norm."""
    model = _cancelling_table(width)
    for seed in range(3):
        rows = _drawn((41, 30), seed)
        for count in (17, 24, 41):
            for gone in (0, count // 2, count - 1):
                moved = float(
                    (_step(model, rows[:count], engine) - _step(model, _without(rows[:count], gone), engine)).norm()
                )
                assert moved <= CLIP * (1 + ARITHMETIC), (count, gone)


@pytest.mark.parametrize("engine", ["book_keeping", "hooks"])
@pytest.mark.parametrize(("name", "shape"), [("mlp", (30,)), ("small_cnn", (1, 32, 32))])
def test_a_patient_has_the_same_norm_wherever_she_stands(name: str, shape: tuple[int, ...], engine: str) -> None:
    model = build_model(ModelConfig(name=name, width=5), shape, 0).requires_grad_(True).train()
    inputs = _drawn((24, *shape), 1)

    def norms(order: list[int]) -> Tensor:
        count = len(order)
        loss = _RowLoss(torch.zeros(count), torch.ones(count), None)
        with gradient_engine(engine, model) as taken:
            return taken.clipped_sum(inputs[order], loss, Patients(torch.arange(count), count), CLIP)[1]

    whole = norms(list(range(24)))
    for gone in (0, 1, 2, 7):
        rest = [index for index in range(24) if index > gone]
        assert torch.equal(norms(rest), whole[rest]), gone


def test_the_other_engine_is_no_way_round() -> None:
    """Before: under privacy.engine=hooks, which a study can name, twice the clipping norm from one patient less."""
    model = _cancelling_images()
    for seed in range(3):
        images = _drawn((41, 1, 32, 32), seed)
        for count in (17, 24, 31, 41):
            for gone in (0, count - 1):
                rest = _without(images[:count], gone)
                moved = float((_step(model, images[:count], "hooks") - _step(model, rest, "hooks")).norm())
                assert moved <= CLIP * (1 + ARITHMETIC), (count, gone)


@pytest.mark.parametrize("width", [4, 5, 7, 8, 33])
def test_one_patient_less_moves_nobody_s_score_of_a_table(width: int) -> None:
    """Before: other patients' scores went from 0 to 1, so noise for one patient's count did not cover her."""
    model = _cancelling_table(width)
    for seed in range(3):
        rows = _drawn((131, 30), seed)
        for count in (12, 17, 31, 64, 65, 131):
            for gone in (0, count // 2, count - 1):
                rest = predict(model, _cohort(_without(rows[:count], gone)))
                assert torch.equal(_without(predict(model, _cohort(rows[:count])), gone), rest), (count, gone)


def test_one_patient_less_moves_nobody_across_the_edge_of_a_bin() -> None:
    """Before: one logit for everybody, at which the library's vectors and single numbers differ, told two bins."""
    model = build_model(ModelConfig(name="linear"), (30,), 0)
    model.load_state_dict({"head.weight": torch.zeros((1, 30)), "head.bias": torch.zeros(1)})
    rows = _drawn((66, 30), 0)
    for logit in np.linspace(-8, 8, 400, dtype=np.float32):
        with torch.no_grad():
            model.head.bias.fill_(float(logit))
        scores = torch.cat([predict(model, _cohort(rows[:count])) for count in (1, 7, 15, 16, 17, 40, 63, 66)])
        assert len(scores.unique()) == 1, logit


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 70), st.integers(1, 40), st.integers(1, 200), st.integers(0, 1000), st.data())
def test_a_row_is_the_same_wherever_it_stands(count: int, outs: int, size: int, seed: int, data: st.DataObject) -> None:
    rows, weight = _drawn((count, size), seed) * 1e3, _drawn((outs, size), seed + 1)
    some = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=80))
    assert torch.equal(by_rows(rows, weight)[some], by_rows(rows[some], weight)), "to the last bit"
    expected = rows.double() @ weight.double().T
    bound = 1e-5 * (rows.double().abs() @ weight.double().abs().T)
    assert bool(((by_rows(rows, weight) - expected).abs() <= bound).all())


def test_the_layer_is_torch_s_linear_layer() -> None:
    layer, same = RowLinear(5, 3), torch.nn.Linear(5, 3)
    same.load_state_dict(layer.state_dict())
    for shape in ((4, 5), (2, 4, 5), (0, 5)):
        inputs, others = (_drawn(shape, 1).requires_grad_() for _ in range(2))
        assert torch.allclose(layer(inputs), same(others), atol=1e-6)
        layer(inputs).square().sum().backward()
        same(others).square().sum().backward()
        assert inputs.grad is not None and others.grad is not None
        assert torch.allclose(inputs.grad, others.grad, atol=1e-5)
    assert layer.weight.grad is not None and same.weight.grad is not None
    assert torch.allclose(layer.weight.grad, same.weight.grad, atol=1e-5)
