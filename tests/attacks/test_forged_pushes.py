"""One hospital sends another a request as if it were the hub, or reaches for what was sent to another.

Each attack is shown on Flower alone first, as it stood before the guard, with the bytes that a hospital would send.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.superlink import extensions

from server.hub import fleet_guard, gate
from tests.attacks.superlink import HUB, Link, superlink

CONTENT = RecordDict({"oncofed": ConfigRecord({"purpose": "train"})})


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    """The SuperLink behind the gate of before."""
    monkeypatch.setattr(extensions, "configure_app", extensions.configure_app)
    gate.install()
    with superlink(tmp_path, monkeypatch) as link:
        yield link


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    """The SuperLink as the hub starts it."""
    monkeypatch.setattr(extensions, "configure_app", extensions.configure_app)
    gate.install()
    fleet_guard.install()
    with superlink(tmp_path, monkeypatch) as link:
        yield link


def test_flower_alone_stores_a_forged_request_as_the_hubs(bare: Link) -> None:
    victim, attacker = bare.nodes
    assert bare.push(attacker, bare.message(CONTENT, HUB, victim)) == 200
    (message,) = bare.waiting(victim)
    assert message.metadata.src_node_id == HUB


def test_a_forged_request_is_refused_and_stored_nowhere(guarded: Link) -> None:
    victim, attacker = guarded.nodes
    assert guarded.push(attacker, guarded.message(CONTENT, HUB, victim)) == 403
    assert guarded.waiting(victim) == []


def test_only_an_answer_to_the_hub_is_stored(guarded: Link) -> None:
    victim, attacker = guarded.nodes
    asked = guarded.sent_by_hub(CONTENT, victim)
    for source, target in itertools.product((HUB, attacker, victim), (victim, attacker, HUB)):
        for reply_to in ("", asked.metadata.message_id):
            assert guarded.push(attacker, guarded.message(CONTENT, source, target, reply_to)) == 403
    assert guarded.state.num_message_res() == 0 and guarded.state.num_message_ins() == 1


def test_an_answer_to_what_the_hub_sent_passes(guarded: Link) -> None:
    _, site = guarded.nodes
    asked = guarded.sent_by_hub(CONTENT, site)
    pulled = guarded.ask("pull-messages", site, PullMessagesRequest(node=Node(node_id=site)))
    assert pulled.status_code == 200
    answer = guarded.message(CONTENT, site, HUB, asked.metadata.message_id)
    assert guarded.push(site, answer) == 200
    assert guarded.state.num_message_res() == 1


@pytest.mark.parametrize("path", ["pull-messages", "send-node-heartbeat"])
def test_flower_itself_refuses_another_node_in_the_body(guarded: Link, path: str) -> None:
    victim, attacker = guarded.nodes
    bodies: dict[str, Any] = {
        "pull-messages": PullMessagesRequest(node=Node(node_id=victim)),
        "send-node-heartbeat": SendNodeHeartbeatRequest(node=Node(node_id=victim), heartbeat_interval=30.0),
    }
    assert guarded.ask(path, attacker, bodies[path]).status_code == 401


@pytest.mark.parametrize("interval", [float("nan"), float("inf"), -30.0, 0.0, 1e300])
def test_flower_itself_refuses_a_heartbeat_that_is_no_time(guarded: Link, interval: float) -> None:
    """With one a node would count as connected for ever, or its row could not be read."""
    node, _ = guarded.nodes
    beat = SendNodeHeartbeatRequest(node=Node(node_id=node), heartbeat_interval=interval)
    assert guarded.ask("send-node-heartbeat", node, beat).status_code == 400
    key = public_key_to_bytes(guarded.keys[node].public_key())
    start = ActivateNodeRequest(public_key=key, heartbeat_interval=interval)
    assert guarded.ask("activate-node", node, start).status_code == 400


def _pull(link: Link, sender: int, object_id: str) -> int:
    body = PullObjectRequest(node=Node(node_id=sender), run_id=link.run, object_id=object_id)
    return int(link.ask("pull-object", sender, body).status_code)


def _confirm(link: Link, sender: int, object_id: str) -> int:
    body = ConfirmMessageReceivedRequest(node=Node(node_id=sender), run_id=link.run, message_object_id=object_id)
    return int(link.ask("confirm-message-received", sender, body).status_code)


def test_flower_alone_hands_out_and_deletes_what_was_sent_to_another(bare: Link) -> None:
    victim, attacker = bare.nodes
    message = bare.sent_by_hub(CONTENT, victim).metadata.message_id
    assert _pull(bare, attacker, message) == 200
    assert _confirm(bare, attacker, message) == 200


def test_what_was_sent_to_another_is_neither_handed_out_nor_deleted(guarded: Link) -> None:
    victim, attacker = guarded.nodes
    message = guarded.sent_by_hub(CONTENT, victim).metadata.message_id
    assert _pull(guarded, attacker, message) == 403
    assert _confirm(guarded, attacker, message) == 403
    assert _pull(guarded, victim, message) == 200
    assert _confirm(guarded, victim, message) == 200


def test_a_body_that_flower_does_not_know_finds_nothing(guarded: Link) -> None:
    _, site = guarded.nodes
    assert guarded.ask("push-messages/", site, PullMessagesRequest(node=Node(node_id=site))).status_code in (403, 404)


def test_every_fleet_path_of_flower_is_judged() -> None:
    """A path that a new Flower adds is refused until somebody has looked at the identities in its body."""
    from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

    judged = {"PushMessagesRequest", "PullObjectRequest", "ConfirmMessageReceivedRequest"}
    known = {kind.__name__ for (_, path), kind in PROTOBUF_REQUEST_TYPES.items() if path.startswith("/v1/fleet/")}
    assert known == judged | fleet_guard._NAMING_NOBODY_ELSE


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
@pytest.mark.parametrize("name", ["ttl", "created_at"])
def test_an_answer_with_an_impossible_time_is_refused(guarded: Link, name: str, value: float) -> None:
    """Flower stores not-a-number as nothing, and each pull of that answer then ends in an error of the SuperLink."""
    _, site = guarded.nodes
    asked = guarded.sent_by_hub(CONTENT, site)
    answer = guarded.message(CONTENT, site, HUB, asked.metadata.message_id, **{name: value})
    assert guarded.push(site, answer) == 403
    assert guarded.state.num_message_res() == 0
