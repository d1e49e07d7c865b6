"""The gate says helps and hurts as seldom by chance as it promises, and otherwise how many patients it would take."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.evaluation.comparison import SAME, Difference, paired_difference
from common.evaluation.gate import holm, judged, p_value, patients_needed, rates


def one(value: float, error: float, patients: int = 100) -> Difference:
    low, high = value - 1.96 * error, value + 1.96 * error
    return Difference(value=value, variance=error**2, low=low, high=high, method="DeLong", bootstrap=None,
                      patients=patients)  # fmt: skip


def words(margin: float = 0.05, **sites: Difference | None) -> dict[str, str]:
    return {site: row["verdict"] for site, row in judged(sites, margin=margin, confidence=0.95).items()}


@pytest.mark.parametrize(
    ("value", "error", "word"),
    [
        (-0.20, 0.05, "hurts"),
        (-0.12, 0.08, "cannot tell"),
        (-0.04, 0.01, "cannot tell"),  # it is worse, but whether by more than the margin is open
        (-0.04, 0.004, "no loss"),  # it is worse, and by less than the margin
        (0.00, 0.01, "no loss"),
        (0.02, 0.06, "cannot tell"),
        (0.12, 0.04, "helps"),
    ],
)
def test_the_word_of_one_site(value: float, error: float, word: str) -> None:
    assert words(a=one(value, error)) == {"a": word}


def test_what_one_site_shows_alone_many_need_not_show() -> None:
    alone, beside = one(-0.1, 0.045), {f"s{index}": one(0.0, 0.05) for index in range(9)}
    assert words(a=alone)["a"] == "hurts" and words(a=alone, **beside)["a"] == "cannot tell"


def test_a_site_without_a_difference_is_not_measured_and_takes_no_share() -> None:
    assert words(a=one(-0.1, 0.045), b=None) == {"a": "hurts", "b": "not measured"}


def test_equal_scores_are_said_to_be_equal() -> None:
    scores, labels = np.linspace(0, 1, 20), np.arange(20) % 2
    same = paired_difference(scores, scores, labels, confidence=0.95, resamples=0, seed=0)
    assert same is not None and same.method == SAME
    (row,) = judged({"a": same}, margin=0.05, confidence=0.95).values()
    assert (row["verdict"], row["harm"], row["difference"], row["patients_needed"]) == ("same scores", False, 0.0, None)


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_just_what_its_step_down_rejects(p_values: dict[str, float]) -> None:
    """Holm 1979, as written: reject in order while p <= level / (those left), and stop at the first that is larger."""
    adjusted = holm(p_values)
    for level in (0.01, 0.05, 0.2):
        rejected, left = set(), len(p_values)
        for site in sorted(p_values, key=lambda name: (p_values[name], name)):
            if p_values[site] * left > level:
                break
            rejected.add(site)
            left -= 1
        assert {site for site, p in adjusted.items() if p <= level} == rejected


def test_the_number_that_would_be_needed_shows_a_loss_of_the_margin_in_eight_of_ten() -> None:
    found = one(0.0, 0.08, patients=60)
    needed = patients_needed(found, 1, 0.05, 0.95)
    assert needed is not None and needed > 60
    error = 0.08 * math.sqrt(60 / needed)
    drawn = np.random.default_rng(1).normal(-0.05, error, 20_000)
    assert np.mean([p_value(one(float(value), error)) < 0.05 for value in drawn]) == pytest.approx(0.8, abs=0.02)


def test_more_sites_need_more_patients() -> None:
    needed = [patients_needed(one(0.0, 0.08), sites, 0.05, 0.95) for sites in (1, 4, 20)]
    assert needed == sorted(needed) and len(set(needed)) == 3


def test_its_rates_are_those_of_the_gate_itself() -> None:
    sites = {"a": one(0.0, 0.03), "b": one(0.0, 0.06), "c": one(0.0, 0.1)}
    found = rates(sites, margin=0.05, confidence=0.95, seed=0)
    assert found is not None
    generator = np.random.default_rng(7)
    alarms, finds = 0, 0
    for _ in range(3000):
        errors = {site: math.sqrt(row.variance) for site, row in sites.items()}
        drawn = {site: one(float(generator.normal(0, error)), error) for site, error in errors.items()}
        alarms += "hurts" in words(**drawn).values()
        finds += words(**drawn | {"a": one(drawn["a"].value - 0.1, errors["a"])})["a"] == "hurts"
    assert found["false_alarm"] == pytest.approx(alarms / 3000, abs=0.012) and found["false_alarm"] < 0.05
    assert found["power"]["a"] == pytest.approx(finds / 3000, abs=0.03)
    assert found["power"]["a"] > found["power"]["b"] > found["power"]["c"]


def test_without_any_difference_nothing_is_promised() -> None:
    assert rates({"a": None}, margin=0.05, confidence=0.95, seed=0) is None
