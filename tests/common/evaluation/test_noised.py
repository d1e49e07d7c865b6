"""Noised score states: right without noise, valid under any, and a function of the noised counts alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import DataError
from common.evaluation.metrics import auroc
from common.evaluation.noised import COUNTS, TOLD, Noise, noised_state
from common.evaluation.scores import MIN_BINS, ScoreState
from simulations.analysis.evaluation_noise import table

Counts = NDArray[np.int64]


def silent(count: int) -> Counts:
    return np.zeros(count, np.int64)


def drawing(draws: list[Counts]) -> Noise:
    """Noise that was drawn before."""
    left = iter(draws)
    return lambda count: next(left)


def patients(seed: int, count: int, width: float = 1.0) -> tuple[NDArray[np.float64], Counts]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    return 1 / (1 + np.exp(-width * (generator.normal(size=count) + 1.5 * labels))), labels


@given(seed=st.integers(0, 10**6), count=st.integers(0, 400), width=st.sampled_from([0.1, 1.0, 20.0]))
def test_without_noise_every_patient_is_counted_in_her_class(seed: int, count: int, width: float) -> None:
    scores, labels = patients(seed, count, width)
    state = noised_state(scores, labels, 4096, silent)
    assert (state.malignant, state.benign) == (int((labels == 1).sum()), int((labels == 0).sum()))
    assert np.count_nonzero(state.positives + state.negatives) <= TOLD


@given(
    seed=st.integers(0, 10**6), bins=st.sampled_from([MIN_BINS, 17, 40, 4096]), size=st.sampled_from([0, 1, 5, 1000])
)
def test_whatever_the_noise_the_state_is_valid_and_its_sum_is_that_of_the_noised_counts(
    seed: int, bins: int, size: int
) -> None:
    generator, drawn = np.random.default_rng(seed), list[Counts]()

    def noise(count: int) -> Counts:
        drawn.append(generator.integers(-size, size + 1, count))
        return drawn[-1]

    scores, labels = patients(seed, 60)
    state = noised_state(scores, labels, bins, noise)
    assert len(drawn) == COUNTS + 1  # the second count has its two classes one after the other
    for of_class, added in zip((state.malignant, state.benign), drawn[1:], strict=True):
        expected = int((labels == (1 if added is drawn[1] else 0)).sum()) + int(added.sum())
        assert of_class == max(0, expected)
    assert ScoreState.from_json(state.to_json(), bins) == state


@settings(max_examples=5)
@given(seed=st.integers(0, 10**6))
def test_neighbours_are_told_apart_by_one_number_of_each_count(seed: int) -> None:
    """With noise that moves a neighbour's counts to the same, the answer is the same: nothing else is looked at."""
    generator = np.random.default_rng(seed)
    scores, labels = patients(seed, 50)
    one, two = [(scores[keep], labels[keep]) for keep in (np.arange(50), np.arange(49))]
    noises = [generator.integers(-3, 4, size) for size in (32, TOLD, TOLD)]
    first = noised_state(*one, 4096, drawing(noises))

    def corrected(search: int, place: int) -> ScoreState:
        moved = [noise.copy() for noise in noises]
        moved[0][search] += 1
        moved[1 if labels[49] == 1 else 2][place] += 1
        return noised_state(*two, 4096, drawing(moved))

    same = [corrected(search, place) == first for search in range(32) for place in range(TOLD)]
    assert any(same), "no neighbouring noise gives the same answer: something else than the counts was used"


def test_the_order_of_scores_is_kept_as_far_as_eight_intervals_can() -> None:
    scores, labels = patients(3, 4000)
    exact, told = auroc(ScoreState.of(scores, labels)), auroc(noised_state(scores, labels, 4096, silent))
    assert exact is not None and told is not None
    assert abs(exact - told) < 0.01


@pytest.mark.parametrize("score", [-0.1, 1.1, np.nan])
def test_no_score_out_of_range_is_counted(score: float) -> None:
    with pytest.raises(DataError):
        noised_state(np.array([score]), np.array([1]), 64, silent)


def test_the_table_of_its_cost_falls_with_patients_and_grows_with_noise() -> None:
    rows = {(row["patients"], row["noise"]): row for row in table((50, 500), (1, 8), 10, 40)}
    for name in ("error, confident", "error, timid"):
        assert rows[500, 1][name] < rows[50, 1][name] < rows[50, 8][name]
    assert rows[50, 8]["epsilon of 10"] < rows[50, 1]["epsilon of one"]
