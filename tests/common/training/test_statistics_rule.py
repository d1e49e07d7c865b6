"""The rule is public, follows the signal, and gives way to what a study writes; the bound on updates holds for all."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.statistics import StatisticsConfig
from common.config.study import EvaluationConfig, PrivacyConfig, StrategyConfig, StudyConfig, TrainingConfig
from common.config.study import ModelConfig as Model
from common.privacy.plan import PrivacyPlan
from common.privacy.statistics import SPREAD_SENSITIVITY, UNIT, sensitivities
from common.training.largest_sums import largest_sums_norm
from common.training.statistics_rule import by_rule, coefficients, head_settings, settled, signal


def study(epsilon: float = 3.0, rounds: int = 9, mode: Literal["local", "none"] = "local", **own: Any) -> StudyConfig:
    return StudyConfig(
        model=Model(part="head", prior=0.3),
        training=TrainingConfig(method="statistics", rounds=rounds, statistics=StatisticsConfig(**own)),
        privacy=PrivacyConfig(epsilon=epsilon, mode=mode),
        strategy=StrategyConfig(weighting="equal"),
        evaluation=EvaluationConfig(local_baseline=False, select_by="last"),
    )


def test_strong_signals_take_more_axes_than_weak_ones() -> None:
    axes = [settled(study(epsilon)).axes for epsilon in (0.3, 1.0, 3.0, 8.0)]
    assert axes == sorted(axes) and axes[1] < axes[2] < axes[3]
    assert settled(study(mode="none")) == settled(study(8.0))


@given(epsilon=st.floats(0.1, 20.0), patients=st.integers(20, 10**5), sites=st.integers(1, 100))
def test_a_signal_grows_with_patients_and_epsilon_and_falls_with_sites(
    epsilon: float, patients: int, sites: int
) -> None:
    here = signal(study(epsilon, patients=patients, sites=sites))
    assert signal(study(epsilon, patients=2 * patients, sites=sites)) == pytest.approx(2 * here)
    assert signal(study(epsilon, patients=patients, sites=4 * sites if sites <= 250 else sites)) < here or sites > 250
    assert signal(study(2 * epsilon, patients=patients, sites=sites)) > here


@given(st.floats(0, 1e6))
def test_the_rule_always_chooses_what_can_run(strength: float) -> None:
    chosen = by_rule(strength)
    assert chosen.axes >= 1 and chosen.gamma >= 0 and chosen.step > 0 and chosen.release in ("steps", "moment")


def test_what_a_study_writes_holds() -> None:
    chosen = settled(study(1.0, axes=7, gamma=0.0, release="steps", step=2.5))
    assert (chosen.axes, chosen.gamma, chosen.release, chosen.step) == (7, 0.0, "steps", 2.5)


def test_a_head_has_no_more_axes_than_the_basis() -> None:
    settings = head_settings(study(8.0), 40)
    assert settings.axes == settings.spread_axes == 40
    assert head_settings(study(mode="none"), 40).noise == 0
    plan = PrivacyPlan.for_site(study(8.0).privacy, study(8.0).training, 500)
    expected = SPREAD_SENSITIVITY * plan.noise_multiplier / math.sqrt(3)
    assert settings.noise == pytest.approx(expected, rel=1e-3)


def test_the_plan_charges_the_same_event_in_each_round() -> None:
    plan = PrivacyPlan.for_site(study().privacy, study().training, 500)
    assert plan.sensitivities == (1.5, *[0.6] * 8)
    assert (plan.sampling_rate, plan.steps_per_round, plan.clip_norm) == (1.0, 1, 1.0)


@pytest.mark.parametrize("changes", [{"sensitivities": (1.5,)}, {"sampling_rate": 0.5}, {"steps_per_round": 2}])
def test_a_plan_whose_rounds_do_not_fit_does_not_construct(changes: dict[str, Any]) -> None:
    plan = PrivacyPlan.for_site(study().privacy, study().training, 500)
    with pytest.raises(ValueError, match="Expected"):
        dataclasses.replace(plan, **changes)


@given(
    epsilon=st.floats(0.2, 20.0), declared=st.integers(20, 3000), seed=st.integers(0, 10**6),
    index=st.integers(1, 6), release=st.sampled_from(["steps", "moment"]),
)  # fmt: skip
def test_no_honest_update_is_longer_than_the_bound(
    epsilon: float, declared: int, seed: int, index: int, release: Literal["steps", "moment"]
) -> None:
    """All patients pull one way, twice as many as declared, with the plan's own noise on top."""
    here, values = study(epsilon, rounds=6, release=release), 97
    plan = PrivacyPlan.for_site(here.privacy, here.training, declared)
    sensitivity = sensitivities(6, 0.6)[index - 1]
    way = np.zeros(values)
    way[0] = 2 * declared * sensitivity
    noisy = way + sensitivity * plan.noise_multiplier * np.random.default_rng(seed).standard_normal(values)
    factors = (1.0,) if index == 1 else coefficients(release, 6, index)
    longest = np.linalg.norm(noisy) / UNIT * math.hypot(*factors)
    limit = largest_sums_norm(here, declared, index, values)
    assert longest <= limit
    assert limit <= 1.6 * (np.linalg.norm(way) / UNIT * math.hypot(*factors)) + 1.6 * sensitivity * (
        plan.noise_multiplier * (math.sqrt(values) + 7) / UNIT * math.hypot(*factors)
    )
