"""What events cost, held to Opacus itself and to Google's dp-accounting."""

from __future__ import annotations

import subprocess
import sys

import dp_accounting
import pytest
from dp_accounting import pld
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import RDPAccountant

from common.errors import ConfigError
from common.privacy.accounting import Event, default_delta, epsilon_of, merge, solve_noise_multiplier

DELTA = 1e-5
mechanisms = st.builds(
    Event, st.floats(0.8, 8.0), st.sampled_from([0.05, 0.2, 0.5, 1.0]), st.integers(1, 60)
)  # fmt: skip


def _google(events: list[Event], delta: float) -> float:
    accountant = pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    for event in events:
        gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
        accountant.compose(dp_accounting.PoissonSampledDpEvent(event.sampling_rate, gaussian), event.steps)
    return float(accountant.get_epsilon(delta))


@pytest.mark.parametrize(
    "events",
    [
        [Event(1.0, 0.05, 200)],
        [Event(2.0, 0.5, 90)],
        [Event(5.0, 1.0, 40), Event(4.0, 0.5, 10)],
        [Event(1.2, 0.1, 30), Event(2.5, 0.3, 20)],
    ],
)
def test_prv_agrees_with_an_independent_accountant(events: list[Event]) -> None:
    independent = _google(events, DELTA)
    assert independent > 1
    assert independent <= epsilon_of(events, DELTA, "prv") <= 1.01 * independent
    assert epsilon_of(events, DELTA, "rdp") >= independent


def test_rdp_is_opacus_own() -> None:
    account = RDPAccountant()
    account.history = [(1.1, 0.1, 50)]
    assert epsilon_of([Event(1.1, 0.1, 50)], DELTA, "rdp") == pytest.approx(account.get_epsilon(DELTA), rel=1e-9)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_ten_rounds_cost_ten_rounds_and_not_one(accountant: str) -> None:
    one = Event(4.0, 0.5, 10)
    ten = epsilon_of([one] * 10, DELTA, accountant)
    assert ten == epsilon_of([Event(4.0, 0.5, 100)], DELTA, accountant)
    # About the square root of ten, 3.2, as for Gaussian mechanisms of much noise.
    assert 3 < ten / epsilon_of([one], DELTA, accountant) < 4


@settings(max_examples=15)
@given(st.lists(mechanisms, min_size=1, max_size=3), mechanisms)
def test_more_never_costs_less(history: list[Event], more: Event) -> None:
    before, after = (epsilon_of(events, DELTA, "rdp") for events in (history, [*history, more]))
    assert after >= before > 0


@given(st.lists(mechanisms, max_size=4), st.randoms())
def test_a_history_is_a_multiset_of_steps(history: list[Event], random: object) -> None:
    shuffled = list(history)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merge(history) == merge(shuffled)
    assert sum(e.steps for e in merge(history)) == sum(e.steps for e in history)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
@pytest.mark.parametrize(("epsilon", "rate", "steps"), [(8.0, 0.48, 90), (3.0, 1.0, 30), (1.0, 0.1, 100)])
def test_the_noise_meets_the_target_and_wastes_little(accountant: str, epsilon: float, rate: float, steps: int) -> None:
    sigma = solve_noise_multiplier(epsilon=epsilon, delta=DELTA, sampling_rate=rate, steps=steps, accountant=accountant)
    spent = epsilon_of([Event(sigma, rate, steps)], DELTA, accountant)
    assert 0.97 * epsilon < spent <= epsilon


def test_no_event_costs_nothing_and_nonsense_is_refused() -> None:
    assert epsilon_of([], DELTA) == 0.0
    with pytest.raises(ConfigError, match="gdp"):
        epsilon_of([Event(1.0, 0.1, 1)], DELTA, "gdp")
    with pytest.raises(ConfigError, match="delta"):
        epsilon_of([Event(1.0, 0.1, 1)], 1.0)


@pytest.mark.parametrize("values", [(0.0, 0.1, 1), (-1.0, 0.1, 1), (1.0, 0.0, 1), (1.0, 1.1, 1), (1.0, 0.1, 0)])
def test_an_event_that_means_nothing_does_not_construct(values: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        Event(*values)


def test_delta_falls_with_the_patients() -> None:
    assert default_delta(100) == 1e-5
    assert default_delta(1_000_000) == pytest.approx(1e-7)


def test_what_is_remembered_changes_no_digit() -> None:
    script = (
        "from opacus.accountants import PRVAccountant; import numpy as np; np.seterr(divide='ignore'); "
        "account = PRVAccountant(); account.history = [(0.9, 0.2, 7), (1.1, 0.05, 40)]; "
        "print(repr(float(account.get_epsilon(1e-5))))"
    )
    alone = subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, capture_output=True, text=True)
    history = [Event(0.9, 0.2, 7), Event(1.1, 0.05, 40)]
    epsilon_of([Event(event.noise_multiplier, event.sampling_rate, 1) for event in history], 1e-5)
    assert repr(epsilon_of(history, 1e-5)) == alone.stdout.strip()
