"""The bet: false alarms at most alpha, whenever it is looked at, and a change that it promises to see is seen."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.monitoring.eprocess import bet, smallest_rate

RATES = st.floats(0.02, 0.9)


@given(tolerated=RATES, length=st.integers(1, 8))
def test_the_wealth_does_not_grow_in_the_mean_at_the_tolerated_rate(tolerated: float, length: int) -> None:
    """All sequences of errors, each with its probability: the mean wealth is exactly what it began with."""
    mean = 0.0
    for errors in itertools.product((0, 1), repeat=length):
        probability = math.prod(tolerated if error else 1 - tolerated for error in errors)
        mean += probability * bet(errors, tolerated, 0.05).wealth[-1]
    assert mean == pytest.approx(1)


@given(tolerated=RATES, lower=st.floats(0, 1), length=st.integers(1, 7))
def test_nor_below_it(tolerated: float, lower: float, length: int) -> None:
    rate = tolerated * lower
    mean = 0.0
    for errors in itertools.product((0, 1), repeat=length):
        probability = math.prod(rate if error else 1 - rate for error in errors)
        mean += probability * bet(errors, tolerated, 0.05).wealth[-1]
    assert mean <= 1 + 1e-9


@given(errors=st.lists(st.integers(0, 1), max_size=60), more=st.lists(st.integers(0, 1), max_size=20), rate=RATES)
def test_the_wealth_is_never_negative_and_the_past_stays(errors: list[int], more: list[int], rate: float) -> None:
    found, longer = bet(errors, rate, 0.1), bet(errors + more, rate, 0.1)
    assert all(wealth >= 0 for wealth in found.wealth)
    assert longer.wealth[: len(errors)] == found.wealth
    if found.alarm is not None:
        assert longer.alarm == found.alarm


@pytest.mark.parametrize("tolerated", [0.05, 0.2, 0.5])
def test_false_alarms_over_long_streams_are_at_most_alpha(tolerated: float) -> None:
    draws = np.random.default_rng(7).random((400, 1500)) < tolerated
    alarms = sum(bet(row.astype(int).tolist(), tolerated, 0.1).alarm is not None for row in draws)
    # 400 alpha = 40 and three standard deviations of a binomial.
    assert alarms <= 40 + 3 * math.sqrt(40 * 0.9)


@pytest.mark.parametrize(("tolerated", "cases"), [(0.1, 60), (0.1, 400), (0.3, 150), (0.5, 1000)])
def test_the_change_that_it_can_see_is_seen_in_four_of_five_streams(tolerated: float, cases: int) -> None:
    rate = smallest_rate(cases, tolerated, 0.05)
    assert rate is not None and rate > tolerated
    draws = np.random.default_rng(11).random((200, cases)) < rate
    seen = sum(bet(row.astype(int).tolist(), tolerated, 0.05).alarm is not None for row in draws)
    assert seen >= 0.8 * 200


@given(tolerated=RATES, cases=st.integers(1, 3000))
def test_more_cases_see_smaller_changes(tolerated: float, cases: int) -> None:
    few, many = smallest_rate(cases, tolerated, 0.05), smallest_rate(2 * cases + 50, tolerated, 0.05)
    if few is not None:
        assert many is not None and many <= few + 1e-9


def test_what_was_lost_before_a_change_does_not_hide_it() -> None:
    """Two thousand good cases, then twice the tolerated rate: far longer with all the wealth in play from the start."""
    rng = np.random.default_rng(3)
    delays = []
    for _ in range(40):
        errors = np.concatenate([rng.random(2000) < 0.1, rng.random(400) < 0.4]).astype(int).tolist()
        alarm = bet(errors, 0.2, 0.05).alarm
        assert alarm is not None and alarm > 2000
        delays.append(alarm - 2000)
    assert np.median(delays) < 150


@pytest.mark.parametrize(("tolerated", "alpha"), [(0, 0.1), (1, 0.1), (0.1, 0), (0.1, 1), (math.nan, 0.1)])
def test_rates_out_of_their_range_are_refused(tolerated: float, alpha: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        bet([0, 1], tolerated, alpha)


def test_an_error_that_is_no_error_is_refused() -> None:
    with pytest.raises(ConfigError, match="as 0 or 1"):
        bet([0, 2], 0.1, 0.1)
