"""Attacks on the sensitivity: whatever patients there are and whatever a hub sends, one patient moves a sum no further.

The sums are those of the training itself, from inputs to the whole steps of the noise's grid.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

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
from common.models.classifier import Classifier
from common.models.parts import select_part
from common.models.statistics_head import StatisticsHead, public_eigenvalues
from common.privacy.noise import GridNoise
from common.privacy.statistics import residual_parts, sensitivities, spread_parts, unit_ball
from common.training.statistics import round_sum
from common.training.statistics_rule import head_settings

AXES = 5
STUDY = StudyConfig(
    model=ModelConfig(part="head", prior=0.3),
    training=TrainingConfig(
        method="statistics", rounds=4, statistics=StatisticsConfig(axes=AXES, spread_axes=3, release="steps")
    ),
    privacy=PrivacyConfig(epsilon=3.0, max_images=3),
    strategy=StrategyConfig(weighting="equal"),
    evaluation=EvaluationConfig(local_baseline=False, select_by="last"),
)
MOMENT = dataclasses.replace(
    STUDY,
    training=dataclasses.replace(
        STUDY.training, statistics=dataclasses.replace(STUDY.training.statistics, release="moment")
    ),
)

sizes = st.one_of(
    st.floats(-3, 3, width=32),
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1e30, -1e30, 3e38, 1e-30, 1e-45, 0.1]),
)
rows = st.lists(sizes, min_size=AXES, max_size=AXES)
patients = st.lists(st.tuples(st.lists(rows, min_size=1, max_size=5), st.sampled_from([0.0, 1.0])), max_size=6)
finite = st.one_of(st.floats(-2, 2, width=32), st.sampled_from([0.0, 1e30, -1e30, 3.4e38, 1e-38, -1.0]))


def weights(size: int) -> st.SearchStrategy[list[float]]:
    return st.lists(finite, min_size=size, max_size=size)


class Axes(nn.Module):
    """Inputs are the public coordinates."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("eigenvalues", torch.tensor([4.0, 1.0, 0.5, 0.1, 0.001]))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


def model_of(study: StudyConfig, sent: list[list[float]] | None = None) -> Classifier:
    """Returns a network whose trained tensors are what a hub sent."""
    model = Classifier(Axes(), AXES, channels=1)
    head = StatisticsHead(public_eigenvalues(model.trunk), head_settings(study, AXES))
    model.add_module("head", head)
    select_part(model, "head")
    for tensor, values in zip((head.moments, head.weight, head.average), sent or [], strict=bool(sent)):
        with torch.no_grad():
            tensor.copy_(torch.tensor(values))
    return model


def tensors_of(people: list[tuple[list[list[float]], float]]) -> PatientTensors:
    images = [image for own, _ in people for image in own]
    of = [index for index, (own, _) in enumerate(people) for _ in own]
    labels = [label for own, label in people for _ in own]
    return PatientTensors(
        torch.tensor(images, dtype=torch.float32).reshape(-1, AXES),
        torch.tensor(labels),
        torch.tensor(of, dtype=torch.int64),
        tuple(f"p{index}" for index in range(len(people))),
    )


@settings(max_examples=400)
@given(
    people=patients,
    extra=patients.filter(bool),
    place=st.integers(0, 6),
    sent=st.tuples(weights(7), weights(AXES), weights(AXES)),
    round_index=st.integers(1, 4),
    study=st.sampled_from([STUDY, MOMENT]),
)
def test_one_patient_moves_no_sum_beyond_its_sensitivity(
    people: list[tuple[list[list[float]], float]], extra: list[tuple[list[list[float]], float]], place: int,
    sent: tuple[list[float], ...], round_index: int, study: StudyConfig,
) -> None:  # fmt: skip
    base = people or extra[1:]
    if not base:
        base = [([[1.0] * AXES], 1.0)]
    more = [*base[:place], extra[0], *base[place:]]
    model = model_of(study, list(sent))
    before, after = (round_sum(model, tensors_of(group), study, round_index) for group in (base, more))
    bound = sensitivities(4, study.training.statistics.residual)[round_index - 1]
    assert torch.isfinite(after).all()
    assert float((after - before).norm()) <= bound * (1 + 1e-9)
    noise = GridNoise(bound, 1.0)
    steps = [np.rint(total.numpy() / noise.grid) * noise.grid for total in (before, after)]
    assert np.linalg.norm(steps[1] - steps[0]) <= noise.sensitivity


@given(rows_=st.lists(rows, min_size=1, max_size=5))
def test_the_worst_patient_reaches_the_sensitivity_and_not_more(rows_: list[list[float]]) -> None:
    """The bound of the spread sum is reached by a unit vector along an axis, so 1.5 cannot be lowered."""
    parts = spread_parts(torch.tensor(rows_))
    assert float(parts.norm(dim=1).max()) <= 1.5 + 1e-12
    assert float(spread_parts(torch.eye(AXES)).norm(dim=1).min()) == pytest.approx(1.5)


@given(st.lists(st.lists(sizes, min_size=3, max_size=3), min_size=1, max_size=8))
def test_the_ball_keeps_what_is_inside_and_the_direction_of_what_is_not(points: list[list[float]]) -> None:
    given_, found = torch.tensor(points).double(), unit_ball(torch.tensor(points))
    for row, clipped in zip(given_, found, strict=True):
        if not torch.isfinite(row).all():
            assert not clipped.any()
            continue
        length = math.hypot(*row.tolist())
        expected = row if length <= 1 else row / row.abs().max() / math.hypot(*(row / row.abs().max()).tolist())
        assert torch.allclose(clipped, expected, rtol=1e-12, atol=0)


@given(st.floats(0.05, 1.0), st.lists(rows, min_size=2, max_size=4), st.floats(allow_nan=True, allow_infinity=True))
def test_no_logit_lets_a_residual_pass_its_bound(bound: float, points: list[list[float]], logit: float) -> None:
    count = len(points)
    logits = torch.full((count,), logit, dtype=torch.float64)
    for label in (0.0, 1.0):
        parts = residual_parts(torch.tensor(points), torch.full((count,), label), logits, bound)
        assert torch.isfinite(parts).all()
        assert float(parts.norm(dim=1).max()) <= bound * (1 + 1e-12)


def test_more_images_than_allowed_change_nothing() -> None:
    few = [([[0.5] * AXES] * 3, 1.0), ([[0.1] * AXES], 0.0)]
    many = [([*few[0][0], [9.0] * AXES], 1.0), few[1]]
    for round_index in (1, 2):
        sums = [round_sum(model_of(STUDY), tensors_of(people), STUDY, round_index) for people in (few, many)]
        assert torch.equal(*sums)
