"""Two names that differ stay two, in every alphabet."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.evaluation.scores import GROUP_NAME
from common.evaluation.subgroups import Attribute
from common.names import one_form, slug, slugs, spelled_differently

NAME = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=12)


@given(st.sets(NAME, min_size=1, max_size=8))
def test_no_two_names_merge(names: set[str]) -> None:
    found = slugs(names)
    forms: dict[str, set[str]] = {}
    for name in names:
        if found[name]:
            forms.setdefault(found[name], set()).add(one_form(name))
    assert all(len(some) == 1 for some in forms.values())


@given(NAME)
def test_a_slug_is_plain_and_stays(name: str) -> None:
    made = slug(name)
    assert re.fullmatch(r"([a-z0-9]+(_[a-z0-9]+)*)?", made)
    assert slug(made) == made
    assert bool(made) == any(sign.isalnum() for sign in name)
    assert slug(unicodedata.normalize("NFD", name)) == slug(unicodedata.normalize("NFC", name))


@pytest.mark.parametrize("pair", [("北京 1", "上海 1"), ("Köln", "Koln"), ("St. Mary-1", "St Mary 1"), ("ER+", "ER-")])
def test_hospitals_that_were_one_are_two(pair: tuple[str, str]) -> None:
    assert len(set(slugs(pair).values())) == 2


def test_plain_names_are_as_before_and_spellings_of_one_are_told() -> None:
    assert slugs(["GE Logiq 7", "Nord"]) == {"GE Logiq 7": "ge_logiq_7", "Nord": "nord"}
    assert spelled_differently(["Nord", "nord ", "Süd"]) == [("Nord", "nord ")]


@given(st.sets(NAME.filter(lambda text: text.strip()), min_size=2, max_size=6), st.booleans())
def test_groups_of_other_alphabets_stay_apart_and_may_leave(values: set[str], long: bool) -> None:
    texts = {value * 9 if long else value for value in values}
    groups = {text: Attribute("scanner").group(text) for text in texts if any(sign.isalnum() for sign in text)}
    assert all(GROUP_NAME.fullmatch(f"scanner={name}") for name in groups.values())
    lossy = {text: name for text, name in groups.items() if not text.isascii()}
    assert len(set(lossy.values())) == len({one_form(text) for text in lossy})


@pytest.mark.parametrize(
    ("cell", "group"), [("54,5", "50_or_more"), ("45.5", "under_50"), ("x", "unknown"), ("nan", "unknown")]
)
def test_numbers_may_have_a_comma(cell: str, group: str) -> None:
    assert Attribute.parse("age:50").group(cell) == group
