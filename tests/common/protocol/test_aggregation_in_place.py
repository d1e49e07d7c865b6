"""Adding updates in place and in blocks, against the definition in one piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.protocol.aggregation import FRACTION_BITS, MAX_ABS_DELTA, Update


@given(
    size=st.sampled_from([0, 1, 7, 32_767, 32_768, 32_769, 70_001]), weight=st.integers(1, 2**20),
    scale=st.sampled_from([1e-12, 1e-3, 1.0, 500.0]), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_blocks_give_the_bits_of_the_definition(size: int, weight: int, scale: float, seed: int) -> None:
    values = (np.random.default_rng(seed).uniform(-1, 1, size) * scale).astype(np.float32)
    found = Update.of({"a": values}, weight).sums["a"]
    assert found.dtype == np.int64
    assert np.array_equal(found, np.rint(values.astype(np.float64) * 2.0**FRACTION_BITS).astype(np.int64) * weight)


@pytest.mark.parametrize("shape", [(), (3, 4), (2, 3, 4)])
def test_shapes_and_strides_stay(shape: tuple[int, ...]) -> None:
    values = np.asarray(np.random.default_rng(0).normal(size=shape), dtype=np.float32).T
    assert np.array_equal(Update.of({"a": values}, 3).sums["a"], np.rint(values.astype(float) * 2.0**32) * 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2 * MAX_ABS_DELTA, -2 * MAX_ABS_DELTA])
@pytest.mark.parametrize("place", [0, 32_768, 70_000])
def test_a_bad_value_is_found_in_every_block(bad: float, place: int) -> None:
    values = np.zeros(70_001, np.float32)
    values[place] = bad
    with pytest.raises(ValueError, match="finite differences"):
        Update.of({"a": values}, 1)


def test_adding_in_place_uses_up_the_left_side_alone() -> None:
    one, two = (Update.of({"a": np.array([0.5, -1.0], np.float32)}, weight) for weight in (2, 3))
    apart, kept = one + two, two.sums["a"].copy()
    held = one.sums["a"]
    one += two
    assert one.weight == apart.weight and np.array_equal(one.sums["a"], apart.sums["a"])
    assert one.sums["a"] is held and np.array_equal(two.sums["a"], kept)
    with pytest.raises(ValueError, match="different models"):
        one += Update.of({"b": np.zeros(2, np.float32)}, 1)
