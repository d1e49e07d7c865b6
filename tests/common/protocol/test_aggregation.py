"""Updates add exactly, in any order, and their mean is the weighted mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.protocol.aggregation import MAX_ABS_DELTA, MAX_TOTAL_WEIGHT, Update, apply, difference, norm

finite = st.floats(-MAX_ABS_DELTA, MAX_ABS_DELTA, width=32)
deltas = hnp.arrays(np.float32, 5, elements=finite)
updates = st.lists(st.tuples(deltas, st.integers(1, 500)), min_size=1, max_size=6)


@given(updates, st.randoms())
def test_the_sum_is_the_same_bit_for_bit_in_any_order(parts: list[tuple[np.ndarray, int]], random: object) -> None:
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (_total(order).mean()["w"] for order in (parts, shuffled))
    assert np.array_equal(first, second)


@given(updates)
def test_the_mean_is_numpys_weighted_mean(parts: list[tuple[np.ndarray, int]]) -> None:
    expected = np.average([d.astype(np.float64) for d, _ in parts], axis=0, weights=[w for _, w in parts])
    # 2**-33 from the fixed point, then half a float32 ulp.
    np.testing.assert_allclose(_total(parts).mean()["w"], expected, rtol=1e-7, atol=2.0**-32)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, MAX_ABS_DELTA * 1.01])
def test_what_is_not_finite_or_too_large_does_not_become_an_update(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Update.of({"w": np.array([0.0, bad], np.float32)}, 1)


@pytest.mark.parametrize("weight", [0, -1, MAX_TOTAL_WEIGHT + 1])
def test_a_weight_out_of_range_does_not_construct(weight: int) -> None:
    with pytest.raises(ValueError, match="weight"):
        Update.of({"w": np.zeros(1, np.float32)}, weight)


def test_updates_of_different_models_do_not_add() -> None:
    with pytest.raises(ValueError, match="different models"):
        _ = Update.of({"a": np.zeros(1, np.float32)}, 1) + Update.of({"b": np.zeros(1, np.float32)}, 1)


def test_the_largest_sum_does_not_overflow() -> None:
    total = Update.of({"w": np.full(1, MAX_ABS_DELTA, np.float32)}, MAX_TOTAL_WEIGHT)
    assert total.mean()["w"][0] == MAX_ABS_DELTA


@given(deltas, deltas)
def test_applying_a_difference_moves_to_the_new_weights(old: np.ndarray, new: np.ndarray) -> None:
    moved = apply({"w": old}, difference({"w": new}, {"w": old}))["w"]
    np.testing.assert_allclose(moved, new, atol=1e-4)
    assert norm({"w": new, "v": old}) == pytest.approx(float(np.linalg.norm(np.concatenate([new, old]).astype(float))))


def _total(parts: list[tuple[np.ndarray, int]]) -> Update:
    first, *rest = (Update.of({"w": delta}, weight) for delta, weight in parts)
    for update in rest:
        first = first + update
    return first
