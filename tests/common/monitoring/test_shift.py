"""Tests of inputs: no more false alarms than is said, by scipy and by simulation; changes that it promises are seen."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from common.monitoring.shift import (
    Measured,
    benjamini_hochberg,
    compared,
    in_a_row,
    in_deviations,
    psi,
    smallest_distance,
)
from common.monitoring.silence import silence


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.01, 0.3))
def test_the_rejected_are_those_of_scipy(p_values: list[float], level: float) -> None:
    adjusted = false_discovery_control(p_values, method="bh")
    doubtful = np.isclose(adjusted, level)
    for ours, theirs, near in zip(benjamini_hochberg(p_values, level), adjusted <= level, doubtful, strict=True):
        assert near or ours == theirs


def windows(rng: np.random.Generator, n: int, shift: float = 0.0, other: float = 0.3) -> dict[str, list]:
    names = rng.choice(["A", "B", "C"], n, p=[1 - other, other - 0.05, 0.05])
    return {"contrast": (rng.normal(size=n) + shift).tolist(), "sharp": rng.normal(size=n).tolist(),
            "device": names.tolist()}  # fmt: skip


def test_while_nothing_changes_a_window_alarms_at_most_at_the_level_and_two_in_a_row_rarely() -> None:
    rng, once, twice = np.random.default_rng(5), 0, 0
    for _ in range(300):
        reference = windows(rng, 200)
        rows = [compared(reference, windows(rng, 50), 0.1) for _ in range(2)]
        once += any(one.rejected for one in rows[0])
        twice += bool(in_a_row(rows))
    assert once <= 30 + 3 * math.sqrt(27)
    assert twice <= 10  # a tenth of a tenth would be 3; the windows share their reference


def test_a_change_that_is_surely_seen_is_seen() -> None:
    rng = np.random.default_rng(6)
    distance = smallest_distance(200, 80, 0.05 / 3)
    shift = in_deviations(distance)
    assert shift is not None
    seen = 0
    for _ in range(100):
        reference = windows(rng, 200)
        rows = [compared(reference, windows(rng, 80, shift=shift), 0.05) for _ in range(2)]
        seen += "contrast" in in_a_row(rows)
    assert seen >= 80


def test_another_machine_is_seen_in_its_tag() -> None:
    rng = np.random.default_rng(8)
    reference = windows(rng, 200)
    rows = [compared(reference, windows(rng, 50, other=0.9), 0.05) for _ in range(2)]
    assert in_a_row(rows) == {"device": 1}


def test_a_measure_that_one_side_lacks_is_not_tested_and_one_word_is_no_change() -> None:
    found = compared({"a": ["x"] * 40, "b": [1.0, 2.0]}, {"a": ["x"] * 40, "c": [1.0]}, 0.05)
    assert [(one.measure, one.p, one.rejected) for one in found] == [("a", 1.0, False)]
    assert compared({}, {}, 0.05) == ()


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=50), st.lists(st.floats(-5, 5), min_size=2, max_size=50))
def test_psi_is_never_negative_and_zero_of_the_same(first: list[float], second: list[float]) -> None:
    assert psi(first, second) >= 0
    assert psi(first, first) == pytest.approx(0)


@given(st.lists(st.booleans(), max_size=30))
def test_an_alarm_needs_two_windows_in_a_row(rejected: list[bool]) -> None:
    rows = [[Measured(measure="m", p=0, rejected=no, psi=0, reference=9, window=9, words=0)] for no in rejected]
    pairs = [at for at in range(1, len(rejected)) if rejected[at - 1] and rejected[at]]
    assert in_a_row(rows) == ({"m": pairs[0]} if pairs else {})


START = date(2026, 1, 1)


@given(st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_a_gap_as_long_as_the_limit_is_rarer_than_is_said(often: float, seed: int) -> None:
    """Of a stream that goes on, the share of its days after which that much silence comes."""
    rng = np.random.default_rng(seed)
    days = [START + timedelta(days=int(at)) for at in np.flatnonzero(rng.random(4000) < often)]
    found = silence(days * 3, START, days[-1] + timedelta(days=1), 1, 3650)
    assert found.rate == pytest.approx(often, abs=0.04)  # five standard errors of 4000 days
    assert (1 - often) ** found.limit < 3e-3


def test_silence_alarms_from_its_limit_on() -> None:
    weekdays = [day for at in range(84) if (day := START + timedelta(days=at)).weekday() < 5]
    found = silence(weekdays, START, weekdays[-1] + timedelta(days=3), 4, 30)
    assert not found.alarm and 5 <= found.limit <= 7
    assert silence(weekdays, START, weekdays[-1] + timedelta(days=found.limit), 4, 30).alarm
    assert not silence([], START, START + timedelta(days=29), 4, 30).alarm
    assert silence([], START, START + timedelta(days=30), 4, 30).alarm
    assert silence([START] * 500, START, START + timedelta(days=29), 4, 30).limit == 30  # one file of labels
