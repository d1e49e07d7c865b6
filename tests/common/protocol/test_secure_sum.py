"""The secure sum against a second implementation, and against those who would lie about who is in it."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import TrustError
from common.protocol.aggregation import Update
from common.protocol.secure_sum import (
    Announcement,
    Roster,
    RunKey,
    check_roster,
    masked,
    roster_digest,
    sum_digest,
    unmasked_sum,
)
from common.trust.signing import SiteKey

RUN, STUDY = "00ff", "ab" * 32
NAMES = ("east", "north", "west")
IDENTITIES = {
    name: SiteKey(Ed25519PrivateKey.from_private_bytes(bytes([index] * 32))) for index, name in enumerate(NAMES)
}
REGISTER = {name: key.public_hex for name, key in IDENTITIES.items()}
KEYS = {name: RunKey.from_hex(f"{index + 1:02x}" * 32) for index, name in enumerate(NAMES)}


def announced(name: str, key: str = "", *, run: str = RUN, patients: int = 100) -> Announcement:
    plain = Announcement(site=name, patients=patients, key=key or KEYS[name].public_hex)
    return plain.signed(run, STUDY, IDENTITIES.get(name, IDENTITIES["east"]))


ROSTER: Roster = tuple(announced(name) for name in NAMES)


def digest_of(roster: Roster = ROSTER, *, attempt: int = 1, round_index: int = 1) -> str:
    return sum_digest(study=STUDY, run=RUN, round_index=round_index, attempt=attempt, roster=roster, weights="cd" * 32)


def sent(name: str, values: NDArray[np.int64], roster: Roster = ROSTER, digest: str = "") -> NDArray[np.uint64]:
    own = next(one for one in roster if one.site == name)
    return masked(values, own, roster, KEYS[name], RUN, digest or digest_of(roster))


# --- a second implementation: integers of Python, HMAC of the standard library, AES one block at a time ---------------

P, A24 = 2**255 - 19, 121665


def x25519(secret: bytes, point: bytes) -> bytes:
    """RFC 7748, section 5, by the Montgomery ladder."""
    k = int.from_bytes(secret, "little") & ~7 & ((1 << 254) - 1) | (1 << 254)
    u = int.from_bytes(point, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in range(254, -1, -1):
        if k >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a, c * b, a * a, b * b
        x3, z3 = (da + cb) ** 2 % P, u * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, (aa - bb) * (aa + A24 * (aa - bb)) % P
        if k >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, one block of output."""
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\1", "sha256")


def keystream(key: bytes, words: int) -> list[int]:
    """AES-256 of the counters 0, 1, 2, ... (NIST SP 800-38A, section 6.5), as little-endian words of 64 bits."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    stream = b"".join(block.update(counter.to_bytes(16, "big")) for counter in range(-(-words // 2)))
    return [int.from_bytes(stream[8 * index : 8 * index + 8], "little") for index in range(words)]


def text_of(body: object) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def second_masked(name: str, secrets: dict[str, bytes], values: Sequence[int], digest: str) -> list[int]:
    """What a site sends, from everybody's private keys."""
    base = (9).to_bytes(32, "little")
    found = [value % 2**64 for value in values]
    for other in secrets.keys() - {name}:
        first, second = sorted((name, other))
        public = [x25519(secrets[site], base).hex() for site in (first, second)]
        info = text_of({"run": RUN, "sites": [first, second], "keys": public})
        shared = x25519(secrets[name], x25519(secrets[other], base))
        mask = hkdf(hkdf(shared, b"oncofed secure sum: pair 1", info), b"oncofed secure sum: mask 1", digest.encode())
        sign = 1 if name == first else -1
        found = [(a + sign * b) % 2**64 for a, b in zip(found, keystream(mask, len(values)), strict=True)]
    return found


def test_the_second_implementation_agrees_with_rfc_7748() -> None:
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert x25519(scalar, point).hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


def test_both_implementations_send_the_same_words() -> None:
    secrets = {name: bytes.fromhex(key.secret) for name, key in KEYS.items()}
    for index, name in enumerate(NAMES):
        values = [index, -index, 2**60, -(2**60), 7]
        mine = sent(name, np.array(values, np.int64))
        assert mine.tolist() == second_masked(name, secrets, values, digest_of())


VECTOR = "c2bbddf363157f8f c97ea295d4cf4c3b dfde33c9b3b01f76"


def test_fixed_keys_give_a_fixed_answer() -> None:
    """The test vector of docs/secure-sum.md: what ``north`` sends of 0, 1, -1 in attempt 1 of round 1."""
    words = sent("north", np.array([0, 1, -1], np.int64))
    assert [f"{int(word):016x}" for word in words] == VECTOR.split()
    assert digest_of() == hashlib.sha256(text_of({
        "study": STUDY, "run": RUN, "round": 1, "attempt": 1, "weights": "cd" * 32, "roster": roster_digest(ROSTER),
    })).hexdigest()  # fmt: skip


# --- what adds up, and what does not ----------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(-(2**59), 2**59), min_size=5, max_size=5), min_size=3, max_size=3))
def test_the_sum_of_all_is_right_to_the_last_bit(rows: list[list[int]]) -> None:
    parts = [sent(name, np.array(row, np.int64)) for name, row in zip(NAMES, rows, strict=True)]
    assert unmasked_sum(parts).tolist() == [sum(column) for column in zip(*rows, strict=True)]


@given(st.lists(st.floats(-400, 400, width=32), min_size=12, max_size=12))
def test_the_secure_mean_is_the_plain_mean(values: list[float]) -> None:
    deltas = np.array(values, np.float32).reshape(3, 4)
    updates = [Update.of({"w": delta}, weight) for delta, weight in zip(deltas, (10, 200, 3000), strict=True)]
    parts = [sent(name, update.sums["w"]) for name, update in zip(NAMES, updates, strict=True)]
    secure = Update(3210, {"w": unmasked_sum(parts)})
    plain = updates[0] + updates[1] + updates[2]
    np.testing.assert_array_equal(secure.mean()["w"], plain.mean()["w"])


def test_what_one_site_sends_and_what_some_send_together_looks_random() -> None:
    zeros = np.zeros(20_000, np.int64)
    parts = {name: sent(name, zeros) for name in NAMES}
    for seen in (parts["east"], parts["east"] + parts["north"], parts["west"]):
        bits = np.unpackbits(seen.view(np.uint8))
        assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)
        assert np.unique(seen).size == seen.size
    assert not unmasked_sum(list(parts.values())).any()


@pytest.mark.parametrize("change", [{"attempt": 2}, {"round_index": 2}])
def test_parts_of_two_requests_do_not_add_up(change: dict[str, int]) -> None:
    zeros = np.zeros(100, np.int64)
    parts = [sent("east", zeros), sent("north", zeros), sent("west", zeros, digest=digest_of(**change))]
    assert (unmasked_sum(parts) != 0).all()


def test_a_part_that_was_sent_before_opens_no_other_sum() -> None:
    zeros = np.zeros(100, np.int64)
    smaller = ROSTER[:2]
    assert not unmasked_sum([sent("east", zeros, smaller), sent("north", zeros, smaller)]).any()
    assert (unmasked_sum([sent("east", zeros), sent("north", zeros, smaller)]) != 0).all()


WRONG_PARTS = {
    "none": [],
    "short": [np.zeros(3, np.uint64), np.zeros(2, np.uint64)],
    "signed": [np.zeros(3, np.int64), np.zeros(3, np.int64)],
    "another modulus": [np.zeros(3, np.uint64), np.zeros(3, np.uint32)],
    "folded": [np.zeros((3, 1), np.uint64), np.zeros((3, 1), np.uint64)],
}


@pytest.mark.parametrize("parts", WRONG_PARTS.values(), ids=list(WRONG_PARTS))
def test_parts_of_another_length_or_modulus_are_refused(parts: list[NDArray[np.uint64]]) -> None:
    with pytest.raises(ValueError, match="flat uint64"):
        unmasked_sum(parts)


# --- rosters ----------------------------------------------------------------------------------------------------------


def check(roster: Roster, register: dict[str, str] = REGISTER) -> None:
    check_roster(roster, run=RUN, study=STUDY, register=register, own=ROSTER[1])


def test_an_honest_roster_passes() -> None:
    check(ROSTER)


def _invented() -> Roster:
    """A hub makes two hospitals of its own beside the one that it wants to see."""
    hub = SiteKey(Ed25519PrivateKey.generate())
    plain = [Announcement(site=name, patients=50, key=RunKey.fresh().public_hex) for name in ("aaa", "zzz")]
    first, last = (one.signed(RUN, STUDY, hub) for one in plain)
    return first, ROSTER[1], last


def _impersonated() -> Roster:
    """A hub signs for a hospital that there is."""
    hub = SiteKey(Ed25519PrivateKey.generate())
    return Announcement(site="east", patients=100, key=RunKey.fresh().public_hex).signed(RUN, STUDY, hub), *ROSTER[1:]


FORGED: dict[str, Callable[[], Roster]] = {
    "without this site": lambda: (ROSTER[0], ROSTER[2]),
    "empty": lambda: (),
    "unsorted": lambda: (ROSTER[1], ROSTER[0], ROSTER[2]),
    "a site twice": lambda: (ROSTER[0], ROSTER[1], ROSTER[1], ROSTER[2]),
    "two sites with one key": lambda: (announced("east", KEYS["west"].public_hex), *ROSTER[1:]),
    "this site's key reflected": lambda: (announced("east", KEYS["north"].public_hex), *ROSTER[1:]),
    "sites that the hub invents": _invented,
    "a key that the hub signs": _impersonated,
    "an announcement of another run": lambda: (announced("east", run="11"), *ROSTER[1:]),
    "other patients than were signed": lambda: (dataclasses.replace(ROSTER[0], patients=1), *ROSTER[1:]),
    "no signature": lambda: (dataclasses.replace(ROSTER[0], signature=""), *ROSTER[1:]),
    "this site under another key": lambda: (ROSTER[0], announced("north", "12" * 32), ROSTER[2]),
    "a short key": lambda: (announced("east", "12"), *ROSTER[1:]),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=list(FORGED))
def test_a_forged_roster_is_refused(forge: Callable[[], Roster]) -> None:
    with pytest.raises(TrustError):
        check(forge())


def test_two_sites_with_one_long_term_key_are_refused() -> None:
    east = Announcement(site="east", patients=100, key=KEYS["east"].public_hex)
    roster = (east.signed(RUN, STUDY, IDENTITIES["west"]), *ROSTER[1:])
    with pytest.raises(TrustError, match="same long-term key"):
        check(roster, REGISTER | {"east": REGISTER["west"]})


LOW_ORDER = (
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)
"""Points whose secret with any key is zero (RFC 7748, section 6.1)."""


@pytest.mark.parametrize("key", LOW_ORDER)
def test_a_key_that_makes_the_secret_zero_is_refused(key: str) -> None:
    roster = (announced("east", key), *ROSTER[1:])
    check(roster)
    with pytest.raises(TrustError, match="shares no secret"):
        sent("north", np.zeros(3, np.int64), roster)


def test_a_reflected_key_shares_no_secret_even_if_the_roster_was_not_checked() -> None:
    with pytest.raises(TrustError, match="own key"):
        sent("north", np.zeros(3, np.int64), (announced("east", KEYS["north"].public_hex), *ROSTER[1:]))


def test_a_private_key_does_not_show_itself() -> None:
    assert KEYS["east"].secret not in repr(KEYS["east"])
