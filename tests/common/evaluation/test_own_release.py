"""What a site lets leave of its own models: no more than its policy says, and read back strictly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DataError
from common.evaluation.answers import OwnModels
from common.evaluation.comparison import Difference
from common.evaluation.own_release import GRID, Coarse, read_own, verdict


def difference(value: float, low: float, high: float) -> Difference:
    error = (high - low) / 3.92
    return Difference(value=value, variance=error**2, low=low, high=high, method="DeLong", bootstrap=None, patients=73)


@st.composite
def differences(draw: st.DrawFn) -> Difference:
    low, value, high = sorted(draw(st.floats(-1, 1)) for _ in range(3))
    return difference(value, low, high)


@given(differences(), st.sampled_from(["verdict", "rounded"]))
def test_it_is_read_back_as_it_was_written(found: Difference, level: Any) -> None:
    coarse = Coarse.of(OwnModels({}, {"federated_minus_local": found}), level, 0.02, 0.95)
    assert read_own(json.loads(json.dumps(coarse.to_json())), 256) == coarse


@given(differences())
def test_rounded_limits_hold_the_exact_ones(found: Difference) -> None:
    coarse = Coarse.of(OwnModels({}, {"federated_minus_local": found}), "rounded", 0.02, 0.95)
    value, low, high = coarse.differences["federated_minus_local"] or (9, 9, 9)
    assert low <= found.low + 1e-9 and found.high - 1e-9 <= high and abs(value - found.value) <= GRID / 2 + 1e-9


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (None, "cannot tell"),
        (difference(0.1, 0.01, 0.2), "helps"),
        (difference(0.1, -0.01, 0.2), "cannot tell"),
        (difference(-0.1, -0.2, -0.01), "hurts"),
        (difference(-0.01, -0.015, -0.005), "cannot tell"),
        (difference(-0.1, -0.2, 0.01), "cannot tell"),
    ],
)
def test_a_verdict_needs_an_interval_that_shows_it(found: Difference | None, word: str) -> None:
    assert verdict(found, 0.02, 0.95) == word


ROUNDED = {
    "level": "rounded", "verdict": "helps", "joining": "cannot tell", "auroc": {"local": 0.85},
    "differences": {"federated_minus_local": {"value": 0.05, "low": 0.0, "high": 0.1}},
}  # fmt: skip


OUTSIDE = {"value": 0.2, "low": 0.0, "high": 0.1}


@pytest.mark.parametrize(
    "change",
    [
        {"level": "all"},
        {"level": "verdict"},
        {"verdict": "helps a lot"},
        {"joining": "perhaps"},
        {"more": 1},
        {"auroc": {"local": 0.851}},
        {"auroc": {"mine": 0.85}},
        {"auroc": {"local": "0.85"}},
        {"differences": {"federated_minus_local": OUTSIDE}},
        {"differences": {"federated_minus_local": 0.05}},
    ],
    ids=str,
)
def test_anything_else_is_refused(change: dict[str, Any]) -> None:
    assert read_own(ROUNDED, 256)
    with pytest.raises(DataError):
        read_own(ROUNDED | change, 256)
