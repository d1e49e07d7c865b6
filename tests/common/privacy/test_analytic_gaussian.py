"""The exact Gaussian accountant, held to its definition, to known figures and to Google's dp-accounting."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from common.privacy.accounting import Event, epsilon_of, solve_noise_multiplier
from common.privacy.analytic_gaussian import delta_of, epsilon_of_mu, largest_mu
from common.privacy.verification import _independent

DELTA = 1e-5


@settings(max_examples=40)
@given(mu=st.floats(0.05, 4.0), epsilon=st.floats(0.0, 8.0))
def test_delta_is_the_integral_that_defines_it(mu: float, epsilon: float) -> None:
    """The hockey-stick divergence of N(mu, 1) from N(0, 1), integrated numerically."""

    def excess(x: float) -> float:
        return max(0.0, norm.pdf(x, mu) - math.exp(epsilon) * norm.pdf(x))

    start = epsilon / mu + mu / 2  # where the densities' ratio is e^epsilon
    integral, error = quad(excess, start, start + 40, limit=200, epsabs=1e-13)
    assert delta_of(mu, epsilon) == pytest.approx(integral, rel=1e-6, abs=1e-11 + 10 * error)


@given(mu=st.floats(0.01, 30.0), delta=st.floats(1e-12, 0.4))
def test_epsilon_and_delta_are_inverse_on_the_safe_side(mu: float, delta: float) -> None:
    epsilon = epsilon_of_mu(mu, delta)
    assert delta_of(mu, epsilon) <= delta * (1 + 1e-6) + 1e-15
    if epsilon > 1e-6:
        assert delta_of(mu, epsilon * (1 - 1e-6)) > delta * (1 - 1e-4) - 1e-15


@given(epsilon=st.floats(0.01, 50.0), delta=st.floats(1e-10, 0.1), rounds=st.integers(1, 100))
def test_the_noise_for_a_target_spends_it_and_no_more(epsilon: float, delta: float, rounds: int) -> None:
    mu = largest_mu(epsilon, delta)
    sigma = solve_noise_multiplier(epsilon=epsilon, delta=delta, sampling_rate=1.0, steps=rounds)
    spent = epsilon_of([Event(sigma, 1.0, 1)] * rounds, delta)
    assert sigma == pytest.approx(math.sqrt(rounds) / mu, rel=1e-12)
    assert epsilon * (1 - 1e-5) <= spent <= epsilon


@pytest.mark.parametrize(("epsilon", "multiplier"), [(8.0, 0.600), (3.0, 1.391), (1.0, 3.731)])
def test_one_release_needs_the_known_noise(epsilon: float, multiplier: float) -> None:
    assert 1 / largest_mu(epsilon, DELTA) == pytest.approx(multiplier, abs=5e-4)


@pytest.mark.parametrize("multipliers", [[1.8] * 9, [4.17] * 9, [11.2] * 11, [0.9, 2.0, 7.0], [30.0]])
def test_the_second_accountant_agrees(multipliers: list[float]) -> None:
    """Google's distributions are upper bounds on a grid, so they lie at or a little above the exact figure."""
    events = [Event(sigma, 1.0, 1) for sigma in multipliers]
    independent, exact = _independent(events, DELTA), epsilon_of(events, DELTA)
    assert exact <= independent * (1 + 1e-6) <= exact * 1.002 + 1e-4


def test_where_a_step_samples_the_tight_accountant_stays_an_upper_bound() -> None:
    events = [Event(3.0, 1.0, 4), Event(2.0, 0.3, 20)]
    assert _independent(events, DELTA) <= epsilon_of(events, DELTA) <= 1.01 * _independent(events, DELTA)


def test_the_looser_accountant_stays_what_it_was() -> None:
    events = [Event(4.0, 1.0, 9)]
    assert epsilon_of(events, DELTA, "rdp") > epsilon_of(events, DELTA)


def test_nothing_costs_nothing() -> None:
    assert epsilon_of_mu(0.0, DELTA) == 0.0
    assert epsilon_of_mu(1e-6, DELTA) == 0.0
