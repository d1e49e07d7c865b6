"""The CUSUM: its run length is what simulation finds, for good references and for those that err."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import DataError
from common.monitoring.cusum import (
    FURTHEST,
    LEAST,
    STEPS,
    Reference,
    average_run_length,
    chart,
    smallest_shift,
    tilted,
    watch,
)

SCORES = np.random.default_rng(1).beta(2, 3, 400)
ANSWERS = (np.random.default_rng(2).random(400) < 0.3).astype(float)


def references() -> list[Reference]:
    return [Reference.of(SCORES.tolist()), Reference.of_rate(ANSWERS.tolist())]


def run_length(shares: np.ndarray, limit: int, runs: int, seed: int) -> tuple[float, float]:
    """Returns the mean run length of simulated walks with its standard error."""
    rng, lengths = np.random.default_rng(seed), []
    places = np.arange(-FURTHEST, FURTHEST + 1)
    for _ in range(runs):
        total, number = 0, 0
        while total < limit:
            for step in rng.choice(places, 500, p=shares).tolist():
                total, number = max(0, total + step - 2), number + 1
                if total >= limit:
                    break
        lengths.append(number)
    return float(np.mean(lengths)), float(np.std(lengths) / math.sqrt(runs))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("limit", [25, 45])
def test_the_run_length_is_what_simulation_finds(which: int, limit: int) -> None:
    shares = references()[which].shares
    told = average_run_length(shares, limit)
    found, error = run_length(shares, limit, 400, 5)
    assert abs(found - told) < 4 * error


def test_it_agrees_with_siegmunds_approximation_for_a_normal_score() -> None:
    """Siegmund 1985, section 2.6: for normal scores ARL = (exp(2 k b) - 2 k b - 1) / (2 k^2) with b = h + 1.166."""
    places = np.arange(-FURTHEST, FURTHEST + 1) / STEPS
    density = np.exp(-0.5 * places**2)
    told = average_run_length(density / density.sum(), 40)
    k, b = 0.2, 4.0 + 1.166
    assert told == pytest.approx((math.exp(2 * k * b) - 2 * k * b - 1) / (2 * k * k), rel=0.1)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("rises", [True, False])
def test_a_chart_has_the_run_length_that_was_asked_for(which: int, rises: bool) -> None:
    reference = references()[which]
    made = chart(reference, 3000, rises=rises)
    shares = reference.shares if rises else reference.shares[::-1]
    assert made.run_length >= 3000
    assert average_run_length(shares, made.limit) >= made.run_length


def test_nine_references_in_ten_keep_the_run_length_that_was_asked_for() -> None:
    """References of 60 patients from one population, each judged on the population itself."""
    rng, kept, asked = np.random.default_rng(9), 0, 400.0
    population = rng.beta(2, 3, 20_000)
    for _ in range(60):
        reference = Reference.of(rng.choice(population, 60).tolist())
        made = chart(reference, asked, rises=True)
        places = np.bincount([reference.place(v) + FURTHEST for v in population[:4000]], minlength=2 * FURTHEST + 1)
        kept += average_run_length(places / places.sum(), made.limit) >= asked
    assert kept >= 0.8 * 60  # nine in ten, less two standard errors of 60


@given(shift=st.floats(0, 1.5), which=st.integers(0, 1))
@example(shift=1.5, which=1)
def test_a_tilt_moves_the_mean_by_what_was_asked_as_far_as_there_are_values(shift: float, which: int) -> None:
    shares = references()[which].shares
    places = np.arange(-FURTHEST, FURTHEST + 1) / STEPS
    moved = tilted(shares, shift)
    assert moved.sum() == pytest.approx(1)
    wanted = min(float(shares @ places) + shift, places[shares > 0].max())
    assert float(moved @ places) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("rises", [True, False])
def test_a_shift_is_seen_on_its_side_and_its_beginning_is_told(rises: bool) -> None:
    reference = references()[0]
    up, down = (chart(reference, 2000, rises=side) for side in (True, False))
    rng, sign, delays = np.random.default_rng(4), 1 if rises else -1, []
    for _ in range(60):
        before, after = rng.choice(SCORES, 100), rng.choice(SCORES, 200) + sign * reference.sd
        found = watch([*before, *after], reference, up, down)
        assert found is not None
        if found.at > 100:
            assert found.rose == rises
            delays.append(found.at - 100)
    assert len(delays) > 50 and np.median(delays) < 20


def test_the_smallest_shift_is_found_within_the_exams_in_the_mean() -> None:
    reference = references()[0]
    made = chart(reference, 2000, rises=True)
    few, many = (smallest_shift(reference, made.limit, n, rises=True) for n in (40, 200))
    assert few is not None and many is not None and many < few
    assert average_run_length(tilted(reference.shares, few), made.limit) <= 40
    assert smallest_shift(reference, made.limit, 1, rises=True) is None


@given(st.lists(st.floats(0, 1), max_size=LEAST - 1))
def test_a_reference_of_a_few_is_refused(values: list[float]) -> None:
    for make in (Reference.of, Reference.of_rate):
        with pytest.raises(DataError, match="20 exams at least"):
            make(values)


def test_scores_that_are_all_alike_are_no_reference() -> None:
    with pytest.raises(DataError, match="alike"):
        Reference.of([0.5] * 30)


def test_a_first_abstention_after_none_is_no_alarm_but_many_are() -> None:
    reference = Reference.of_rate([0.0] * 60)
    up, down = (chart(reference, 2000, rises=side) for side in (True, False))
    assert watch([0.0] * 200 + [1.0] + [0.0] * 50, reference, up, down) is None
    found = watch([1.0] * 10, reference, up, down)
    assert found is not None and found.rose
