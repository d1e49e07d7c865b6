"""Shares of noise: whoever colludes within what is assumed, what is left is all of the noise."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from common.config.study import (
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    PrivacyConfig,
    StrategyConfig,
    StudyConfig,
    TrainingConfig,
)
from common.errors import ConfigError
from common.privacy import shares
from common.privacy.largest_update import largest_sum_norm
from common.privacy.noise import EXACT_VALUES
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.privacy.shares import GRID, NoiseShare, noise_share, reach
from common.protocol import aggregation

STUDY = StudyConfig(
    data=DataConfig(image_size=0),
    training=TrainingConfig(rounds=20, local_steps=1, batch_patients=100, lr=1.5),
    privacy=PrivacyConfig(mode="distributed", epsilon=3.0, accountant="rdp"),
)
SIZES = st.lists(st.sampled_from([20, 60, 100, 250, 900]), min_size=4, max_size=8)


def study(**changes: object) -> StudyConfig:
    return dataclasses.replace(STUDY, privacy=dataclasses.replace(STUDY.privacy, **changes))  # type: ignore[arg-type]


def noise(randomness: Randomness, share: NoiseShare, values: int) -> np.ndarray:  # type: ignore[type-arg]
    return share.noisy(np.zeros(values), randomness.noise)


def test_the_grid_is_the_one_on_which_updates_add() -> None:
    assert shares.FRACTION_BITS == aggregation.FRACTION_BITS


@given(SIZES, st.integers(1, 2), st.data())
@settings(max_examples=40)
def test_the_honest_sites_make_all_of_the_noise_that_each_of_them_assumes(
    sizes: list[int], agreed: int, data: st.DataObject
) -> None:
    """Each site may assume more colluders than the study; against so many its patients have all of their noise."""
    own = data.draw(st.lists(st.integers(agreed, len(sizes) - 2), min_size=len(sizes), max_size=len(sizes)))
    plan = study(colluders=agreed)
    made = [noise_share(plan, sizes, size, t) for size, t in zip(sizes, own, strict=True)]
    variances = [(one.std_steps * GRID) ** 2 for one in made]
    for index, size in enumerate(sizes):
        needed = PrivacyPlan.for_site(plan.privacy, plan.training, size).noise_multiplier * reach(plan, size)[1]
        others = sorted(variance for place, variance in enumerate(variances) if place != index)
        honest = others[: len(sizes) - own[index] - 1]  # the worst: those who add most collude
        assert variances[index] + sum(honest) >= needed**2 * (1 - 1e-9)


@given(SIZES)
@settings(max_examples=20)
def test_with_one_assumption_for_all_no_noise_is_wasted(sizes: list[int]) -> None:
    made = [noise_share(STUDY, sizes, size, 1) for size in sizes]
    assert len({one.total_std for one in made}) == 1
    total, honest = sum((one.std_steps * GRID) ** 2 for one in made), len(sizes) - 1
    assert total == pytest.approx(made[0].total_std ** 2 * len(sizes) / honest, rel=1e-6)


@given(st.integers(0, 2**32), st.sampled_from([20, 100, 900]))
@settings(max_examples=30)
def test_no_patient_moves_the_rounded_sum_further_than_the_sensitivity(seed: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    factor, sensitivity = reach(STUDY, size)
    total, one = generator.normal(size=(2, 500)) * generator.choice([1e-9, 1e-3, 10.0])
    one *= STUDY.privacy.clip_norm / np.linalg.norm(one)
    with_, without = (np.rint(values * (factor / GRID)) for values in (total + one, total))
    assert np.linalg.norm(with_ - without) * GRID <= sensitivity


def test_the_rounded_sum_stands_in_the_noise() -> None:
    share = noise_share(STUDY, [100, 100, 100], 100, 1)
    clipped = np.linspace(-3, 3, 1000)
    values = share.noisy(clipped, Randomness.from_seed(1).noise)
    alone = noise(Randomness.from_seed(1), share, 1000)
    np.testing.assert_array_equal(values - alone, np.rint(clipped * (share.factor / GRID)).astype(np.int64))


@pytest.mark.parametrize("values", [2_000, EXACT_VALUES + 1])
def test_the_noise_of_a_sum_is_the_gaussian_that_was_promised(values: int) -> None:
    """Kolmogorov-Smirnov against a normal of the exact deviation; both samplers."""
    sizes = [100, 60, 250, 100]
    made = [noise_share(STUDY, sizes, size, 1) for size in sizes]
    rounds = max(1, 60_000 // values)
    drawn = np.concatenate([
        sum(noise(Randomness.from_entropy(), share, values) for share in made)
        for _ in range(rounds)
    ])  # fmt: skip
    std = made[0].total_std * np.sqrt(4 / 3) / GRID
    assert stats.kstest(drawn / std, "norm").pvalue > 1e-6
    assert drawn.std() == pytest.approx(std, rel=6 / np.sqrt(2 * drawn.size))


def test_what_three_of_four_leave_is_the_whole_noise_of_one_site() -> None:
    share = noise_share(STUDY, [100] * 4, 100, 1)
    plan = PrivacyPlan.for_site(STUDY.privacy, STUDY.training, 100)
    assert share.total_std / share.sensitivity == pytest.approx(plan.noise_multiplier)
    assert share.own_multiplier == pytest.approx(plan.noise_multiplier / np.sqrt(3), rel=1e-6)


def test_shares_of_one_seed_differ_by_site() -> None:
    share = noise_share(STUDY, [100] * 3, 100, 1)
    drawn = [noise(Randomness.from_seed(0, site, "train", 1), share, 50) for site in ("a", "b")]
    assert (drawn[0] != drawn[1]).all()


@pytest.mark.parametrize(("sites", "colluders"), list(itertools.product((1, 2, 3, 5), (1, 2, 4))))
def test_fewer_than_two_honest_sites_share_nothing(sites: int, colluders: int) -> None:
    if sites - colluders >= 2:
        assert noise_share(study(colluders=colluders), [100] * sites, 100, colluders).roster == sites
        return
    with pytest.raises(ConfigError, match="share the noise"):
        noise_share(study(colluders=colluders), [100] * sites, 100, colluders)


def test_a_sum_that_could_leave_the_integers_is_refused() -> None:
    training = dataclasses.replace(STUDY.training, lr=1e6)
    with pytest.raises(ConfigError, match=r"training\.lr"):
        noise_share(dataclasses.replace(STUDY, training=training), [100] * 3, 100, 1)


def test_an_honest_sum_is_never_longer_than_the_bound_for_it() -> None:
    sizes, parameters = [100, 60, 250], 4_000
    limit = largest_sum_norm(STUDY, sizes, parameters)
    made = [noise_share(STUDY, sizes, size, 1) for size in sizes]
    weight = sum(sizes)
    for seed in range(20):
        drawn = sum(noise(Randomness.from_seed(seed, index), one, parameters) for index, one in enumerate(made))
        signal = sum(-reach(STUDY, size)[0] * min(100, size) for size in sizes)
        assert np.linalg.norm(np.asarray(drawn) * GRID / weight) + signal / weight < limit


WRONG = {
    "two steps": {"training": {"local_steps": 2}},
    "epochs": {"training": {"local_steps": 0}},
    "adam": {"training": {"optimizer": "adam"}},
    "weight decay": {"training": {"weight_decay": 0.1}},
    "krum": {"strategy": {"name": "krum"}},
    "median": {"strategy": {"name": "fedmedian"}},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=list(WRONG))
def test_what_a_sum_cannot_carry_is_no_study(change: dict[str, dict[str, object]]) -> None:
    changed = {group: dataclasses.replace(getattr(STUDY, group), **to) for group, to in change.items()}  # type: ignore[type-var, arg-type]
    with pytest.raises(ValueError, match=r"privacy\.mode=distributed"):
        dataclasses.replace(STUDY, **changed)


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi"])
def test_strategies_that_take_the_mean_take_that_of_a_sum(name: str) -> None:
    changed = dataclasses.replace(STUDY, strategy=StrategyConfig(name=name))  # type: ignore[arg-type]
    assert changed.privacy.distributed


@pytest.mark.parametrize(("round_index", "moved"), [(1, 1.5), (2, 0.6), (5, 0.6)])
def test_a_sum_of_the_statistics_training_has_the_sensitivity_of_its_round(round_index: int, moved: float) -> None:
    training = TrainingConfig(method="statistics", rounds=5)
    plan = dataclasses.replace(
        STUDY, training=training, strategy=StrategyConfig(weighting="equal"), model=ModelConfig(part="head"),
        evaluation=EvaluationConfig(local_baseline=False, select_by="last"),
    )  # fmt: skip
    factor, sensitivity = reach(plan, 100, round_index)
    assert 1 < sensitivity / (factor * moved) < 1.02
    needed = PrivacyPlan.for_site(plan.privacy, training, 100).noise_multiplier * sensitivity
    made = [noise_share(plan, [100] * 4, 100, 1, round_index) for _ in range(3)]
    assert math.sqrt(sum((share.std_steps * GRID) ** 2 for share in made)) >= needed
