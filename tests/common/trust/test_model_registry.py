"""States of models: whatever is tried, up to active lead two people only, and nothing moves up by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import TrustError
from common.trust.agreement import agree, agreed
from common.trust.journal import Head
from common.trust.registry import AUTOMATIC, Move, Registry, check_pointer, lowered, pointer, replayed
from common.trust.signing import SiteKey

TIME = "2026-01-01T00:00:00+00:00"
A, B = "a" * 64, "b" * 64
RANK = {"active": 3, "watch": 2, "suspended": 1, "retired": 0}
moves = st.builds(
    Move,
    package=st.sampled_from([A, B]),
    to=st.sampled_from(["kept", "shadow", "active", "watch", "suspended", "retired"]),
    cause=st.sampled_from(["person", "alarm", "expired", "gate", "rollback", "replaced", "appeal"]),
    by=st.sampled_from([(), ("anna",), ("anna", "anna"), ("anna", "ben"), ("monitor",)]),
    time=st.just(TIME),
    gate=st.sampled_from(["", "g1", "g2"]),
    agreement=st.sampled_from(["", "signed"]),
)


def tried(chosen: list[Move]) -> Registry:
    found = Registry()
    for move in chosen:
        if not found.problem(move):
            found = found.after(move)
    return found


def up(package: str, **changes: Any) -> Move:
    fields: dict[str, Any] = {"package": package, "to": "active", "cause": "gate", "by": ("anna", "ben"), "time": TIME,
                              "gate": "g1", "agreement": "signed"}  # fmt: skip
    return Move(**(fields | changes))


def shadow(package: str, gate: str = "g1") -> Move:
    return Move(package=package, to="shadow", cause="person", by=("anna",), time=TIME, gate=gate)


@given(st.lists(moves, max_size=60))
def test_no_road_leads_to_active_without_two_people_and_none_up_by_itself(chosen: list[Move]) -> None:
    found = tried(chosen)
    for at, move in enumerate(found.moves):
        before = Registry(found.moves[:at])
        if move.to == "active":
            assert len(set(move.by)) >= 2 and move.agreement
            assert before.state(move.package) != "kept"
            assert before.state(move.package) != "shadow" or move.gate == before.gate(move.package) != ""
        if move.cause in AUTOMATIC:
            was = before.state(move.package)
            assert RANK.get(move.to, 9) < RANK.get(was, 9)
    assert len(found.packages("active", "watch")) <= 1 and len(found.packages("shadow")) <= 1
    assert replayed([move.to_json() for move in found.moves]) == found


@given(st.lists(moves, max_size=30), st.lists(st.sampled_from("xyz"), max_size=3), st.booleans())
def test_the_monitor_only_lowers_and_an_alarm_that_was_looked_at_moves_nothing_again(
    chosen: list[Move], alarms: list[str], expired: bool
) -> None:
    found = tried(chosen)
    step = lowered(found, alarms, expired, TIME)
    if found.active is None:
        assert step is None
    if step is not None:
        after = found.after(step)
        assert RANK[after.state(step.package)] < RANK[found.state(step.package)]
        if not expired:
            assert lowered(after, alarms, False, TIME) is None


def test_a_first_alarm_watches_a_second_suspends_and_two_people_bring_it_back() -> None:
    active = Registry().after(shadow(A), up(A))
    watched = active.after(*filter(None, [lowered(active, ["x"], False, TIME)]))
    assert watched.state(A) == "watch" and watched.active == A
    suspended = watched.after(*filter(None, [lowered(watched, ["x", "y"], False, TIME)]))
    assert suspended.state(A) == "suspended" and suspended.active is None
    back = suspended.after(up(A, cause="appeal", gate=""))
    assert back.active == A and lowered(back, ["x", "y"], False, TIME) is None
    assert lowered(back, ["z"], False, TIME) is not None


def test_rollback_goes_to_what_was_active_before_and_to_nothing_else() -> None:
    retired = Move(package=A, to="retired", cause="replaced", by=("anna", "ben"), time=TIME)
    second = Registry().after(shadow(A), up(A), shadow(B, "g2"), retired, up(B, gate="g2"))
    assert second.active == B
    away = Move(package=B, to="retired", cause="replaced", by=("anna", "ben"), time=TIME)
    assert second.after(away, up(A, cause="rollback", gate="")).active == A
    never = Registry().after(Move(package=A, to="retired", cause="person", by=("anna",), time=TIME))
    with pytest.raises(TrustError, match="never active"):
        never.after(up(A, cause="rollback", gate=""))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"by": ("anna",)}, "two people"),
        ({"by": ("anna", "anna")}, "two people"),
        ({"agreement": ""}, "two people"),
        ({"gate": "g2"}, "not the one that was fixed"),
        ({"gate": ""}, "not the one that was fixed"),
        ({"cause": "rollback"}, "by rollback"),
    ],
)
def test_a_package_in_shadow_needs_two_people_and_the_gate_that_was_fixed(change: dict[str, Any], says: str) -> None:
    with pytest.raises(TrustError, match=says):
        Registry().after(shadow(A), up(A, **change))


def test_a_pointer_that_is_older_changed_or_of_another_key_is_refused() -> None:
    key, other = SiteKey.from_pem(pem()), SiteKey.from_pem(pem())
    first = Registry().after(shadow(A), up(A))
    old, head = pointer(first, Head(2, "c" * 64), key), Head(3, "d" * 64)
    later = first.after(Move(package=A, to="suspended", cause="person", by=("anna",), time=TIME))
    check_pointer(pointer(later, head, key), later, head, key.public_hex)
    with pytest.raises(TrustError, match="latest"):
        check_pointer(old, later, head, key.public_hex)
    for bad in (pointer(later, head, other), pointer(later, head, key) | {"active": A}, {}):
        with pytest.raises(TrustError, match="not signed"):
            check_pointer(bad, later, head, key.public_hex)


def pem() -> str:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    made = Ed25519PrivateKey.generate()
    return made.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode()


def test_two_names_with_one_key_are_one_person() -> None:
    anna, ben = SiteKey.from_pem(pem()), SiteKey.from_pem(pem())
    body = {"do": "activate", "package": A}
    people = {"anna": anna.public_hex, "ben": ben.public_hex, "twin": anna.public_hex}
    signed = {name: agree(body, name, key, people) for name, key in (("anna", anna), ("ben", ben), ("twin", anna))}
    assert agreed(body, [signed["anna"], signed["ben"]], people) == ("anna", "ben")
    for pair in ([signed["anna"]], [signed["anna"], signed["anna"]], [signed["anna"], signed["twin"]]):
        with pytest.raises(TrustError, match="2 people"):
            agreed(body, pair, people)
    with pytest.raises(TrustError, match="2 people"):
        agreed(body | {"package": B}, [signed["anna"], signed["ben"]], people)
    with pytest.raises(TrustError, match=r"people\.yaml"):
        agree(body, "ben", anna, people)


@pytest.mark.parametrize("body", [{}, {"package": A}, {"by": []}, up(A).to_json() | {"to": "king"}, up(A).to_json()])
def test_a_journal_entry_that_is_no_allowed_move_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(TrustError):
        replayed([body])
