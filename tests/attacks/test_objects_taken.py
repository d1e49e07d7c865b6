"""One hospital announces what another or the hub will send, with other children, so that its push is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.superlink import extensions

from common.errors import SiteCode
from common.protocol.messages import DocumentAnswer, Refusal, pack_answer
from server.hub import fleet_guard, gate
from server.hub.object_trees import Announced
from tests.attacks.superlink import HUB, Link, superlink

WEIGHTS = ArrayRecord({"values": Array(np.arange(5, dtype=np.float32))})
REQUEST = RecordDict({"oncofed": ConfigRecord({"purpose": "train"}), "arrays": WEIGHTS})
OTHER = "0" * 64


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    """The SuperLink as the hub starts it."""
    monkeypatch.setattr(extensions, "configure_app", extensions.configure_app)
    gate.install()
    fleet_guard.install()
    with superlink(tmp_path, monkeypatch) as found:
        yield found


def answer_of(link: Link, node: int) -> Message:
    asked = link.sent_by_hub(RecordDict({"oncofed": ConfigRecord({"purpose": "enrol", "for": str(node)})}), node)
    return link.message(pack_answer(DocumentAnswer(site="x", document={})), node, HUB, asked.metadata.message_id)


def taking(answer: Message, record: str) -> ObjectTree:
    """Returns the objects of an answer, of which one is somebody else's, with other children."""
    tree = get_object_tree(answer)
    tree.children[0].children.append(ObjectTree(object_id=record, children=[ObjectTree(object_id=OTHER)]))
    return tree


def test_the_hubs_weights_cannot_be_blocked(link: Link) -> None:
    """They are known from the round before, or from the study's seed, and Flower believed who came first."""
    victim, attacker = link.nodes
    answer = answer_of(link, attacker)
    assert link.push(attacker, answer, taking(answer, WEIGHTS.object_id)) == 200
    request = link.message(REQUEST, HUB, victim)
    assert link.push_as_hub(request, token="0" * 256) >= 400
    assert link.state.object_store.get(answer.metadata.message_id) is not None, "only the hub may have it deleted"
    assert link.push_as_hub(request) == 200
    assert link.state.object_store.get_object_tree(WEIGHTS.object_id).children[0].object_id != OTHER
    assert link.state.object_store.get(answer.metadata.message_id) is None


def test_what_honest_hospitals_announced_stays(link: Link) -> None:
    victim, site = link.nodes
    answer = answer_of(link, site)
    assert link.push(site, answer) == 200
    assert link.push_as_hub(link.message(REQUEST, HUB, victim)) == 200
    assert link.state.object_store.get(answer.metadata.message_id) is not None


@pytest.mark.parametrize("answer", [DocumentAnswer(site="x", document={}), Refusal(site="x", code=SiteCode.NO_ANSWER)])
def test_an_answers_objects_cannot_be_guessed(answer: DocumentAnswer | Refusal) -> None:
    first, second = (pack_answer(answer) for _ in range(2))
    assert first.object_id != second.object_id and first["oncofed"].object_id != second["oncofed"].object_id


def _another_root(tree: ObjectTree) -> None:
    tree.object_id = OTHER


def _wide(tree: ObjectTree) -> None:
    tree.children[0].children.extend(ObjectTree(object_id=f"{number:064x}") for number in range(2))


def _deep(tree: ObjectTree) -> None:
    for number in range(20):
        tree.children.append(ObjectTree(object_id=f"{number:064x}"))
        tree = tree.children[-1]


@pytest.mark.parametrize("change", [_another_root, _wide, _deep])
def test_objects_that_no_answer_has_are_refused(link: Link, change: Callable[[ObjectTree], None]) -> None:
    _, site = link.nodes
    answer = answer_of(link, site)
    tree = get_object_tree(answer)
    change(tree)
    assert link.push(site, answer, tree) >= 400
    assert link.state.num_message_res() == 0


def test_hospitals_that_push_at_once_are_settled_apart() -> None:
    """Before, the second ended the first's walk over what was announced, and the guard's request with it."""
    announced = Announced()
    first, second, third = (ObjectTree(object_id=name) for name in ("a", "b", "c"))

    class Busy:
        """A store that takes another hospital's push while it is asked."""

        def get(self, object_id: str) -> bytes:
            if third.object_id not in announced._stored:
                announced._stored[third.object_id] = {}
            return b""

    for tree in (first, second):
        announced.come(tree)
        announced.settle(tree, Busy())
    assert set(announced._stored) == {"a", "b", "c"}
