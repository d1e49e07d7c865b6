"""Subgroups that leave a site are large enough, cover everybody and cannot be subtracted from each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.study import compose
from common.errors import ConfigError
from common.evaluation.subgroups import MAX_VALUES, OTHER, Attribute, grouped_state, released

rows = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 1)), max_size=60)


@given(rows, st.integers(0, 8))
def test_released_groups_are_large_and_leave_no_rest(rows, min_cell: int) -> None:
    values = np.array([value for value, _ in rows], dtype=object)
    labels = np.array([label for _, label in rows], dtype=int)
    groups = released(values, labels, min_cell)
    if groups:
        assert (sum(members.astype(int) for members in groups.values()) == 1).all(), "every patient in one group"
    for members in groups.values():
        for cell in (int((labels[members] == 1).sum()), int((labels[members] == 0).sum())):
            assert cell == 0 or cell >= min_cell
        assert members.sum() >= min_cell


def test_a_single_small_group_cannot_be_had_by_subtraction() -> None:
    values = np.array(["a"] * 20 + ["b"] * 12 + ["c"] * 3, dtype=object)
    labels = np.arange(35) % 2
    groups = released(values, labels, 5)
    assert set(groups) == {"a", OTHER} and groups[OTHER].sum() == 15
    assert released(values[20:], labels[20:], 5) == {}, "one small group beside one large: nothing can be told apart"


def test_values_beyond_the_most_are_put_together() -> None:
    values = np.repeat(np.array([f"v{n:03d}" for n in range(40)], dtype=object), 10)
    groups = released(values, np.arange(400) % 2, 5)
    assert len(groups) == MAX_VALUES + 1 and groups[OTHER].sum() == 10 * (40 - MAX_VALUES)


@pytest.mark.parametrize(
    ("text", "value", "group"),
    [
        ("scanner", "GE Logiq 7 ", "ge_logiq_7"),
        ("scanner", "", "unknown"),
        ("age:40,50", "39.9", "under_40"),
        ("age:40,50", "40", "40_to_under_50"),
        ("age:40,50", "71", "50_or_more"),
        ("age:40,50", "not told", "unknown"),
    ],
)
def test_values_become_groups(text: str, value: str, group: str) -> None:
    assert Attribute.parse(text).group(value) == group


@pytest.mark.parametrize("text", ["age:50,40", "age:40,40", "age:forty", "", ":", "age:nan"])
def test_refuses_an_attribute_that_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError, match="subgroups"):
        Attribute.parse(text)
    with pytest.raises(ConfigError, match="subgroups"):
        compose([f"evaluation.subgroups=['{text}']"])


def test_a_state_carries_the_groups_of_each_attribute() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(80) % 2
    people = [{"scanner": "AB"[i // 40], "age": str(30 + i)} for i in range(80)]
    state = grouped_state(generator.random(80), labels, people, ["scanner", "age:50,70", "site"], bins=64, min_cell=5)
    assert set(state.groups) == {
        *("scanner=a", "scanner=b", "age=under_50", "age=50_to_under_70", "age=70_or_more"),
    }
    assert state.groups["scanner=a"] + state.groups["scanner=b"] == state.without_groups()
    assert state.groups["age=under_50"].patients == 20
