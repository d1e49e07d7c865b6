"""m different hospitals of the run, each with its own key, over these very weights; nothing less counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import TrustError
from common.trust.release import ReleasedModel, endorsement, endorsers
from common.trust.signing import SiteKey

MODEL = ReleasedModel(study="ab" * 32, run="0123456789abcdef", weights="cd" * 32)
NAMES = ("east", "north", "south")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SiteKey]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: SiteKey.open(folder / name) for name in (*NAMES, "stranger")}


@pytest.fixture(scope="module")
def public(keys: Mapping[str, SiteKey]) -> dict[str, str]:
    return {name: keys[name].public_hex for name in NAMES}


@given(signed=st.lists(st.sampled_from(NAMES), max_size=6), needed=st.integers(0, 4))
def test_it_takes_as_many_different_sites_as_the_study_says(
    keys: Mapping[str, SiteKey], public: Mapping[str, str], signed: list[str], needed: int
) -> None:
    documents = [endorsement(MODEL, name, keys[name]) for name in signed]
    if len(set(signed)) >= needed:
        assert list(endorsers(MODEL, documents, public, needed)) == sorted(set(signed))
    else:
        with pytest.raises(TrustError, match=f"signatures of {needed} different sites"):
            endorsers(MODEL, documents, public, needed)


@pytest.mark.parametrize("name", ["study", "run", "weights"])
def test_a_signature_for_another_model_does_not_count(
    keys: Mapping[str, SiteKey], public: Mapping[str, str], name: str
) -> None:
    other = dataclasses.replace(MODEL, **{name: "ef" * 32})
    with pytest.raises(TrustError, match=f"north signed another {name}"):
        endorsers(MODEL, [endorsement(other, "north", keys["north"])], public, 1)
    relabelled = endorsement(other, "north", keys["north"]) | {name: getattr(MODEL, name)}
    with pytest.raises(TrustError, match="signature of north does not hold"):
        endorsers(MODEL, [relabelled], public, 1)


def test_nobody_signs_for_another_site(keys: Mapping[str, SiteKey], public: Mapping[str, str]) -> None:
    with pytest.raises(TrustError, match="'stranger' is no approved site"):
        endorsers(MODEL, [endorsement(MODEL, "stranger", keys["stranger"])], public, 1)
    with pytest.raises(TrustError, match="north signed another key"):
        endorsers(MODEL, [endorsement(MODEL, "north", keys["stranger"])], public, 1)
    claimed = endorsement(MODEL, "north", keys["stranger"]) | {"key": public["north"]}
    with pytest.raises(TrustError, match="does not hold"):
        endorsers(MODEL, [claimed], public, 1)


@given(place=st.integers(0, 127), digit=st.sampled_from("0123456789abcdef"))
def test_no_digit_of_a_signature_can_change(
    keys: Mapping[str, SiteKey], public: Mapping[str, str], place: int, digit: str
) -> None:
    document = endorsement(MODEL, "north", keys["north"])
    before = document["signature"]
    document["signature"] = before[:place] + digit + before[place + 1 :]
    if document["signature"] == before:
        assert list(endorsers(MODEL, [document], public, 1)) == ["north"]
    else:
        with pytest.raises(TrustError):
            endorsers(MODEL, [document], public, 1)


@pytest.mark.parametrize("document", [{}, {"site": None}, {"site": "north", "signature": 7}, {"site": ["north"]}])
def test_what_is_no_endorsement_does_not_count(public: Mapping[str, str], document: Mapping[str, object]) -> None:
    with pytest.raises(TrustError):
        endorsers(MODEL, [document], public, 1)


@pytest.mark.parametrize("value", ["", "XY", "../up", "AB"])
def test_a_model_is_named_in_hex_only(value: str) -> None:
    with pytest.raises(TrustError, match="hex"):
        dataclasses.replace(MODEL, run=value)


def test_where_no_signatures_are_asked_for_none_are_needed(public: Mapping[str, str]) -> None:
    assert endorsers(MODEL, [], public, 0) == {}


@pytest.mark.parametrize("first", [True, False])
def test_of_several_of_one_site_the_one_that_holds_is_returned(
    keys: Mapping[str, SiteKey], public: Mapping[str, str], first: bool
) -> None:
    good = endorsement(MODEL, "north", keys["north"])
    stale = endorsement(dataclasses.replace(MODEL, run="ef"), "north", keys["north"])
    assert endorsers(MODEL, [good, stale] if first else [stale, good], public, 1) == {"north": good}
