"""One hospital of the statistics training sends what no patients add up to, within the length that an update may have.

Before: one of four took the AUROC from 0.75 to 0.45 (0.49 at epsilon 8) by a last round that moved one tensor alone,
and to 0.60 (0.68) by a count of patients below nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.study import StudyConfig, compose
from common.models import zoo
from common.privacy.shares import MOST_PATIENTS
from common.privacy.statistics import COUNT_SHARE, SPREAD_SENSITIVITY, UNIT
from common.protocol.aggregation import Arrays
from common.protocol.messages import TrainAnswer
from common.training.honest_sums import is_honest, share_within
from common.training.largest_sums import noise_multiplier
from common.training.statistics_rule import coefficients, settled
from common.training.summed_rounds import AVERAGE, MOMENTS, WEIGHT
from tests import public_axes
from tests.scenarios.conftest import Federation
from tests.scenarios.test_statistics_run import STATISTICS

AXES = 16
Change = Callable[[Arrays], dict[str, np.ndarray]]


def count_below_nothing(arrays: Arrays) -> dict[str, np.ndarray]:
    moments = np.zeros_like(arrays[MOMENTS])
    moments[-1] = -0.5
    return {**arrays, MOMENTS: moments}


def squares_below_nothing(arrays: Arrays) -> dict[str, np.ndarray]:
    moments = np.copy(arrays[MOMENTS])
    moments[AXES] = -0.5
    return {**arrays, MOMENTS: moments}


def centre_of_nobody(arrays: Arrays) -> dict[str, np.ndarray]:
    moments = np.zeros_like(arrays[MOMENTS])
    moments[:AXES] = 0.1
    return {**arrays, MOMENTS: moments}


def one_tensor_alone(arrays: Arrays) -> dict[str, np.ndarray]:
    return {**arrays, WEIGHT: np.full_like(arrays[WEIGHT], 1e-9), AVERAGE: np.full_like(arrays[AVERAGE], -0.01)}


def moments_later(arrays: Arrays) -> dict[str, np.ndarray]:
    return {**arrays, MOMENTS: np.full_like(arrays[MOMENTS], 1e-3)}


@pytest.mark.parametrize(
    ("privacy", "round_index", "change"),
    [
        ("privacy.epsilon=8", 1, count_below_nothing), ("privacy=none", 1, squares_below_nothing),
        ("privacy=none", 1, centre_of_nobody), ("privacy.epsilon=8", 4, one_tensor_alone),
        ("privacy=none", 3, moments_later),
    ],
)  # fmt: skip
def test_what_no_patients_add_up_to_is_its_own_sites_bad_update(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, privacy: str, round_index: int, change: Change
) -> None:
    monkeypatch.setattr(zoo, "ARCHITECTURES", public_axes.register(images=True))

    def bend(answer: TrainAnswer) -> TrainAnswer:
        return dataclasses.replace(answer, arrays=change(answer.arrays))

    federation.mutations = {("site_2", round_index): bend}
    run = federation.run(f"{STATISTICS} {privacy}")
    assert {site["name"]: site["code"] for site in run["sites"]} == {"site_1": "", "site_2": "bad-update", "site_3": ""}
    assert [row["failures"] for row in federation.rounds() if row["failures"]] == [
        [{"site": "site_2", "code": "bad-update"}]
    ]


def _study(epsilon: float) -> StudyConfig:
    private = f"privacy.epsilon={epsilon}" if epsilon else "privacy.mode=none"
    words = ["training.method=statistics", "training.rounds=4", "model.part=head", "strategy.weighting=equal"]
    return compose([*words, "evaluation.select_by=last", "evaluation.local_baseline=false", private])


def _sum(draws: np.random.Generator, patients: int, deviation: float) -> dict[str, np.ndarray]:
    rows = draws.normal(size=(patients, AXES)) * draws.uniform(0, 1, size=AXES) + draws.normal(size=AXES)
    inside = rows / np.maximum(1, np.linalg.norm(rows, axis=1, keepdims=True))
    total = np.concatenate([inside.sum(0), np.square(inside).sum(0), [COUNT_SHARE * patients]])
    noisy = (total + deviation * draws.normal(size=total.size)).astype(np.float32) / np.float32(UNIT)
    return {MOMENTS: noisy, WEIGHT: np.zeros(AXES, np.float32), AVERAGE: np.zeros(AXES, np.float32)}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31), patients=st.integers(0, 400), share=st.floats(0.5, 2),
    epsilon=st.sampled_from([0, 0.5, 8]),
)  # fmt: skip
def test_every_honest_sum_fits(seed: int, patients: int, share: float, epsilon: float) -> None:
    draws, study, declared = np.random.default_rng(seed), _study(epsilon), max(1, round(share * patients))
    deviation = SPREAD_SENSITIVITY * noise_multiplier(study, declared)
    zeros = {MOMENTS: np.zeros(2 * AXES + 1), WEIGHT: np.zeros(AXES), AVERAGE: np.zeros(AXES)}
    found = _sum(draws, patients, deviation)
    assert is_honest(study, declared, 1, zeros, found)
    assert share_within(study, declared, 1, found) == 1.0 or patients > MOST_PATIENTS * declared
    for later in (2, 3, 4):
        before = {name: (draws.normal(size=values.size) / 10).astype(np.float32) for name, values in zeros.items()}
        release = (draws.normal(size=AXES) * draws.uniform(0, 1)).astype(np.float32)
        factors = dict(zip((WEIGHT, AVERAGE), coefficients(settled(study).release, 4, later), strict=True))
        moved = {name: before[name] + np.float32(factor) * release for name, factor in factors.items()}
        update = {name: values - before[name] for name, values in moved.items()}
        assert is_honest(study, declared, later, before, {**update, MOMENTS: np.zeros(2 * AXES + 1, np.float32)})


def test_more_patients_than_a_site_can_have_count_as_those_it_can() -> None:
    study, draws = _study(0), np.random.default_rng(0)
    assert share_within(study, 100, 1, _sum(draws, 400, 0.0)) == pytest.approx(0.5)
