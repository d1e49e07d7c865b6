"""The plan is public arithmetic: private counts cannot reach it, and its event is what runs."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.config.study import PrivacyConfig, TrainingConfig
from common.errors import ConfigError
from common.privacy.accounting import Event, epsilon_of
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness

PRIVACY = PrivacyConfig(epsilon=3.0, accountant="rdp")
TRAINING = TrainingConfig(rounds=5, batch_patients=20, local_epochs=2.0)


def _plan(**changes: object) -> PrivacyPlan:
    return dataclasses.replace(PrivacyPlan.for_site(PRIVACY, TRAINING, 100), **changes)  # type: ignore[arg-type]


def test_the_whole_study_costs_its_target() -> None:
    plan = _plan()
    assert (plan.sampling_rate, plan.expected_batch_patients, plan.steps_per_round) == (0.2, 20.0, 10)
    spent = epsilon_of([plan.event()] * plan.rounds, plan.delta, "rdp")
    assert 0.97 * 3.0 < spent <= 3.0
    assert plan.event() == Event(plan.noise_multiplier, 0.2, 10)


@pytest.mark.parametrize(
    "changes",
    [
        {"clip_norm": 0.0}, {"noise_multiplier": 0.0}, {"sampling_rate": 1.5}, {"delta": 1.0}, {"rounds": 0},
        {"max_images": 0}, {"expected_batch_patients": 0.0}, {"steps_per_round": 0}, {"target_epsilon": 0.0},
    ],
)  # fmt: skip
def test_a_plan_that_means_nothing_does_not_construct(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        _plan(**changes)


@pytest.mark.parametrize("field", ["clip_norm", "expected_batch_patients", "target_epsilon", "noise_multiplier"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_plan_without_finite_numbers_does_not_construct(field: str, value: float) -> None:
    with pytest.raises(ValueError, match="Expected"):
        _plan(**{field: value})


@pytest.mark.parametrize("changes", [{"accountant": "gdp"}, {"engine": "ghost"}])
def test_a_plan_with_an_unknown_name_does_not_construct(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        _plan(**changes)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_draw_of_a_patient_does_not_depend_on_who_follows(few: int, more: int) -> None:
    """A patient's place in a sample is decided by the public rate alone."""
    plan, last = _plan(steps_per_round=1), min(few, more)
    one, other = (next(plan.sample(count, Randomness.from_seed(2).sampling)) for count in (few, more))
    assert one.dtype == torch.int64
    assert one[one < last].tolist() == other[other < last].tolist()


def test_a_delta_that_could_give_a_patient_away_is_refused() -> None:
    with pytest.raises(ConfigError, match="too large"):
        PrivacyPlan.for_site(dataclasses.replace(PRIVACY, delta=0.01), TRAINING, 100)


@pytest.mark.parametrize("declared", [0, -5])
def test_a_site_without_declared_patients_is_refused(declared: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        PrivacyPlan.for_site(PRIVACY, TRAINING, declared)


def test_without_privacy_there_is_no_plan() -> None:
    with pytest.raises(ConfigError, match="no privacy plan"):
        PrivacyPlan.for_site(dataclasses.replace(PRIVACY, mode="none"), TRAINING, 100)


def test_patients_are_drawn_independently_at_the_public_rate() -> None:
    plan = _plan(steps_per_round=4000)
    sizes = torch.tensor([len(s) for s in plan.sample(50, Randomness.from_seed(0).sampling)]).double()
    # Binomial(50, 0.2): mean 10 and variance 8; 4,000 draws leave a standard error of 0.045 and of about 0.18.
    assert abs(float(sizes.mean()) - 10) < 0.2 and abs(float(sizes.var()) - 8) < 0.8


def test_a_batch_can_be_empty_and_is_still_a_step() -> None:
    plan = _plan(steps_per_round=50)
    samples = list(plan.sample(2, Randomness.from_seed(1).sampling))
    assert len(samples) == 50 and any(len(sample) == 0 for sample in samples)


def test_seeds_and_labels_make_distinct_streams_and_the_system_makes_others() -> None:
    def first(randomness: Randomness) -> float:
        return float(randomness.noise.uniforms(1)[0])

    assert first(Randomness.from_seed(0, "a", 1)) == first(Randomness.from_seed(0, "a", 1))
    streams = [(0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1), (0, "a", "1")]
    assert len({first(Randomness.from_seed(seed, *labels)) for seed, *labels in streams}) == len(streams)
    assert first(Randomness.from_entropy()) != first(Randomness.from_entropy())
    assert not Randomness.from_entropy().seeded
