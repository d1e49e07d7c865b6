"""A chain of signed entries shows the first place at which it was touched."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from common.trust.journal import Entry, Head, canonical, first_bad, next_entry
from common.trust.signing import SiteKey

KEY = SiteKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def chain(length: int, key: SiteKey = KEY) -> list[Entry]:
    entries: list[Entry] = []
    for index in range(length):
        entries.append(next_entry(entries[-1].head if entries else Head(), {"value": index}, key))
    return entries


@given(st.integers(0, 6))
def test_an_honest_chain_is_believed(length: int) -> None:
    assert first_bad(chain(length), KEY.public_hex) is None


@given(
    st.integers(1, 6).flatmap(lambda length: st.tuples(st.just(length), st.integers(1, length))),
    st.sampled_from([("text", '{"value":99}'), ("previous", "f" * 64), ("digest", "f" * 64), ("signature", "00"),
                     ("seq", 77), ("text", None), ("signature", b"x")]),
    st.booleans(),
)  # fmt: skip
def test_an_edited_entry_is_named(where: tuple[int, int], edit: tuple[str, Any], believed: bool) -> None:
    length, place = where
    honest = chain(length)
    edited = [*honest]
    edited[place - 1] = dataclasses.replace(edited[place - 1], **{edit[0]: edit[1]})
    known = honest[-1].head if believed and edit[0] != "signature" else None
    assert first_bad(edited, KEY.public_hex, known) == place


@given(st.integers(2, 6).flatmap(lambda length: st.tuples(st.just(length), st.integers(1, length - 1))))
def test_a_dropped_or_swapped_entry_is_named(where: tuple[int, int]) -> None:
    length, place = where
    honest = chain(length)
    assert first_bad(honest[: place - 1] + honest[place:], KEY.public_hex) == place
    swapped = [*honest]
    swapped[place - 1], swapped[place] = swapped[place], swapped[place - 1]
    assert first_bad(swapped, KEY.public_hex, honest[-1].head) == place


def test_entries_of_another_key_are_not_believed() -> None:
    honest, foreign = chain(3), chain(4, SiteKey(Ed25519PrivateKey.generate()))
    assert first_bad([*honest, foreign[3]], KEY.public_hex, honest[-1].head) == 4
    assert first_bad(foreign, KEY.public_hex) == 1


def test_a_head_beyond_the_end_is_no_reason_to_skip_signatures() -> None:
    foreign = chain(2, SiteKey(Ed25519PrivateKey.generate()))
    assert first_bad(foreign, KEY.public_hex, chain(5)[-1].head) == 1


@given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.integers()))
def test_the_canonical_text_keeps_every_value_and_knows_no_order(body: dict[str, Any]) -> None:
    assert json.loads(canonical(body)) == body
    assert canonical(dict(reversed(body.items()))) == canonical(body)


def test_nan_has_no_canonical_text() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"value": math.nan})
