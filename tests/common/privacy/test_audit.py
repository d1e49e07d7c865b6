"""The bound of an audit against exact small cases, an independent accountant and a mechanism of known epsilon."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.privacy.audit import (
    attack_ceiling,
    canary_bound,
    epsilon_lower_bound,
    gaussian_epsilon,
    gaussian_estimate,
    most_possible,
    noise_check,
    p_value,
)

EPSILONS = st.floats(0, 8)


def _tail(guesses: int, correct: int, epsilon: float) -> float:
    """P[at least ``correct`` right] of randomised response, by listing every outcome."""
    right = math.exp(epsilon) / (1 + math.exp(epsilon))
    return sum(
        math.prod(right if hit else 1 - right for hit in outcome)
        for outcome in itertools.product([0, 1], repeat=guesses)
        if sum(outcome) >= correct
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 3.0])
@pytest.mark.parametrize(("guesses", "correct"), [(1, 1), (5, 3), (8, 8), (8, 0)])
def test_without_delta_it_is_the_tail_of_randomised_response(guesses: int, correct: int, epsilon: float) -> None:
    found = p_value(canaries=10, guesses=guesses, correct=correct, epsilon=epsilon, delta=0.0)
    assert found == pytest.approx(_tail(guesses, correct, epsilon), rel=1e-12)


@pytest.mark.parametrize(("guesses", "correct"), [(1, 1), (6, 4), (8, 8)])
def test_delta_costs_what_theorem_5_2_says(guesses: int, correct: int) -> None:
    tail = _tail(guesses, correct, 1.0)
    slope = max((_tail(guesses, correct - i, 1.0) - tail) / i for i in range(1, correct + 1))
    found = p_value(canaries=9, guesses=guesses, correct=correct, epsilon=1.0, delta=1e-3)
    assert found == pytest.approx(min(1.0, tail + 2 * 9 * 1e-3 * slope), rel=1e-12)


@pytest.mark.parametrize("guesses", [10, 100])
def test_all_guesses_right_refute_what_the_closed_form_says(guesses: int) -> None:
    """q^r = alpha, so epsilon = logit(alpha^(1/r))."""
    q = 0.05 ** (1 / guesses)
    found = epsilon_lower_bound(canaries=guesses, guesses=guesses, correct=guesses, delta=0.0, confidence=0.95)
    assert found == pytest.approx(math.log(q / (1 - q)), abs=1e-9)


def test_the_published_example_holds() -> None:
    """Steinke et al. (2023), section 1.1: 1000 canaries, all guessed, accuracy 75% or so is about epsilon 1."""
    found = epsilon_lower_bound(canaries=1000, guesses=1000, correct=750, delta=1e-5, confidence=0.95)
    assert 0.9 < found < math.log(3)


@given(st.integers(1, 60), st.data(), EPSILONS, st.floats(0, 1e-3))
def test_more_right_guesses_are_less_likely_and_a_larger_epsilon_allows_more(
    guesses: int, data: st.DataObject, epsilon: float, delta: float
) -> None:
    correct = data.draw(st.integers(1, guesses))

    def p(v: int, e: float) -> float:
        return p_value(canaries=guesses, guesses=guesses, correct=v, epsilon=e, delta=delta)

    assert 0 <= p(correct, epsilon) <= p(correct - 1, epsilon) + 1e-12 <= 1 + 1e-12
    assert p(correct, 0.0) <= p(correct, epsilon) + 2 * guesses * delta + 1e-12


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_a_mechanism_of_known_epsilon_is_not_refuted_too_often(epsilon: float) -> None:
    """Randomised response: the bound passes the truth in at most 5% of audits, and comes near it."""
    generator = np.random.default_rng(1)
    bounds = []
    for _ in range(200):
        included = generator.random(300) < 0.5
        told = generator.random(300) < 1 / (1 + math.exp(-epsilon))
        scores = np.where(told == included, 1.0, 0.0) + generator.random(300) / 10
        bounds.append(canary_bound(scores, included, delta=0.0).epsilon)
    assert np.mean(np.array(bounds) > epsilon) <= 0.05
    assert np.mean(bounds) > 0.4 * epsilon


def test_perfect_scores_show_the_most_possible_and_coins_show_nothing() -> None:
    generator = np.random.default_rng(0)
    included = np.arange(400) % 2 == 0
    assert canary_bound(included.astype(float), included, delta=1e-5).epsilon == most_possible(canaries=400, delta=1e-5)
    assert canary_bound(generator.random(400), included, delta=1e-5).epsilon < 0.3
    assert most_possible(canaries=100, delta=1e-5) < most_possible(canaries=1000, delta=1e-5)


@pytest.mark.parametrize("scores", [np.array([1.0]), np.array([1.0, math.nan, 2.0])])
def test_scores_that_say_nothing_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="canaries"):
        canary_bound(scores, np.ones(len(scores), dtype=bool), delta=0.0)


@pytest.mark.parametrize(("correct", "guesses", "epsilon"), [(3, 2, 1.0), (-1, 2, 1.0), (1, 99, 1.0), (1, 2, -1.0)])
def test_impossible_counts_are_refused(correct: int, guesses: int, epsilon: float) -> None:
    with pytest.raises(ValueError, match="Expected"):
        p_value(canaries=10, guesses=guesses, correct=correct, epsilon=epsilon, delta=0.0)


@pytest.mark.parametrize("mu", [0.3, 1.0, 3.0])
def test_the_epsilon_of_a_gaussian_is_that_of_googles_accountant(mu: float) -> None:
    import dp_accounting
    from dp_accounting import pld

    accountant = pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    accountant.compose(dp_accounting.GaussianDpEvent(1 / mu), 1)
    assert gaussian_epsilon(mu, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-2)


def test_a_gaussian_fit_finds_the_separation_and_its_lower_limit_stays_below() -> None:
    generator = np.random.default_rng(3)
    included = generator.random(4000) < 0.5
    scores = generator.normal(size=4000) + 1.5 * included
    truth = gaussian_epsilon(1.5, 1e-5)
    assert gaussian_estimate(scores, included, 1e-5) == pytest.approx(truth, rel=0.1)
    assert gaussian_estimate(scores, included, 1e-5, errors=4) < truth
    assert gaussian_estimate(-scores, included, 1e-5) == 0.0
    assert gaussian_estimate(included.astype(np.float64), included, 1e-5) == math.inf
    assert math.isnan(gaussian_estimate(scores[:1], included[:1], 1e-5))


@pytest.mark.parametrize(("scale", "passes"), [(1.0, True), (0.9, False), (1.1, False), (0.0, False)])
def test_noise_of_another_size_is_seen(scale: float, passes: bool) -> None:
    drawn = np.random.default_rng(0).normal(size=5000) * 2.0 * scale
    assert noise_check("noise", drawn, 2.0).passed is passes
    assert not noise_check("noise", drawn[:0], 2.0).passed


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (1.0, 1e-2), (3.0, 1e-5)])
def test_the_ceiling_of_an_attack_is_the_area_under_the_best_roc_curve(epsilon: float, delta: float) -> None:
    rate = np.linspace(0, 1, 200_001)
    best = np.minimum(delta + math.exp(epsilon) * rate, 1 - math.exp(-epsilon) * (1 - delta - rate))
    area = float(np.trapezoid(np.minimum(best, 1.0), rate))
    assert attack_ceiling(epsilon, delta) == pytest.approx(area, abs=1e-6)
