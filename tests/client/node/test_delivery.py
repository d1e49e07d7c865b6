"""A reply arrives whole at Flower's own hub, whichever answers are lost on the way and whichever sessions end."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID, SUPERLINK_NODE_ID
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError, push_object_contents_from_iterable
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState
from hypothesis import given
from hypothesis import strategies as st

from client.node.delivery import TRIES, Delivery

RUN = 1
REPLY = RecordDict(
    {
        "arrays": ArrayRecord({"values": Array(np.arange(64, dtype=np.float32)), "more": Array(np.ones(3))}),
        "body": ConfigRecord({"site": "north"}),
    }
)
OBJECTS = {name: found.deflate() for name, found in get_all_nested_objects(REPLY).items()}


class Hub:
    """What hub and SuperNode share of Flower's state, behind a network; a call whose answer it loses is repeated.

    Attributes:
        lost: For each push of an object, whether its answer is lost.
        ended: For each, whether its session ends right before it, as after a long absence.
    """

    def __init__(self, lost: list[bool], ended: list[bool]) -> None:
        self.store = InMemoryObjectStore()
        self._state = InMemoryNodeState(self.store)
        self._lost, self._ended = iter(lost), iter(ended)

    def send(self, tree: Any) -> tuple[set[str], str]:
        session = self._state.start_session(RUN)
        return set(self._state.preregister_object_tree(tree, session)), session

    def push_object(self, run_id: int, session: str, name: str, content: bytes) -> None:
        if next(self._ended, False):
            self._state.delete_sessions_in_run(run_id)
            self.store.delete(REPLY.object_id)
        stored = self._state.store_object(run_id, session, name, content)
        if next(self._lost, False):
            stored = self._state.store_object(run_id, session, name, content)
        if not stored:
            raise ObjectPushError(name, run_id, session)

    def holds(self) -> bool:
        return all(self.store.get(name) == content for name, content in OBJECTS.items())


def deliver(send: Callable[..., Any], push: Callable[..., None], threads: int) -> None:
    """As Flower's ``_push_messages`` does it."""
    missing, session = send(get_object_tree(REPLY))
    pushes = [(name, OBJECTS[name]) for name in sorted(missing)]
    push_object_contents_from_iterable(
        pushes, lambda name, content: push(RUN, session, name, content), max_concurrent_pushes=threads
    )


@given(lost=st.lists(st.booleans(), max_size=TRIES - 1), ended=st.lists(st.booleans(), max_size=TRIES - 1))
def test_every_object_arrives(lost: list[bool], ended: list[bool]) -> None:
    hub = Hub(lost, ended)
    delivery = Delivery(hub.send, hub.push_object)
    deliver(delivery.send, delivery.push_object, 1)
    assert hub.holds()


@pytest.mark.parametrize("broken", [0, 1, 3])
def test_every_object_arrives_from_several_threads(broken: int) -> None:
    for lost, ended in (([True] * broken, []), ([], [True] * broken)):
        hub = Hub(lost, ended)
        delivery = Delivery(hub.send, hub.push_object)
        deliver(delivery.send, delivery.push_object, 8)
        assert hub.holds()


class RunningHub:
    """Flower's own state of a hub at which a run waits for this reply; the answer to the first object is lost."""

    def __init__(self, database: Path) -> None:
        stores = ObjectStoreFactory(str(database))
        self.state = LinkStateFactory(str(database), NoOpFederationManager(), stores).state()
        node = self.state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, b"key", 0)
        self.state.activate_node(node, 60)
        self.run = self.state.create_run(
            None, None, "", {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP
        )
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = self.run, SUPERLINK_NODE_ID, 1
        self.asked = self._stored(Message(content=RecordDict(), message_type="train", dst_node_id=node))
        self.state.get_message_ins(node, 1)
        self.reply = named(Message(content=REPLY, reply_to=self.asked))
        self.objects = {name: found.deflate() for name, found in get_all_nested_objects(self.reply).items()}
        self._lost = True

    def send(self) -> tuple[set[str], str]:
        session = self.state.start_session(self.run)
        tree = get_object_tree(self.reply)
        return set(self.state.store_message_and_object_tree(self.reply, tree, session)[1]), session

    def push_object(self, run_id: int, session: str, name: str, content: bytes) -> None:
        stored = self.state.store_object(run_id, session, name, content)
        if self._lost:
            self._lost = False
            stored = self.state.store_object(run_id, session, name, content)
        if not stored:
            raise ObjectPushError(name, run_id, session)

    def aggregator_takes_the_outline(self) -> None:
        """As Flower's handler of its grid does it: what was asked is forgotten at once."""
        (found,) = self.state.get_message_res({self.asked.metadata.message_id}, run_id=self.run)
        self.state.delete_messages({found.metadata.reply_to_message_id})

    def holds(self) -> bool:
        return all(self.state.get_object(self.run, name) == content for name, content in self.objects.items())

    def _stored(self, message: Message) -> Message:
        session = self.state.start_session(self.run)
        stored, _ = self.state.store_message_and_object_tree(named(message), get_object_tree(message), session)
        assert stored
        for name, found in get_all_nested_objects(message).items():
            self.state.store_object(self.run, session, name, found.deflate())
        return message


def named(message: Message) -> Message:
    """As Flower names a message before it travels."""
    vars(message.metadata)["_message_id"] = message.object_id
    return message


@pytest.fixture
def identity() -> Iterator[None]:
    """Takes back in whose name messages were made, which Flower keeps for the process."""
    yield
    TaskIdentity._run_id = TaskIdentity._node_id = TaskIdentity._task_id = None


@pytest.mark.usefixtures("identity")
@pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")  # by Flower's use of Alembic
@pytest.mark.parametrize("taken", [False, True])
def test_it_arrives_whether_or_not_the_aggregator_has_taken_its_outline(tmp_path: Path, taken: bool) -> None:
    hub = RunningHub(tmp_path / "state.db")
    delivery = Delivery(hub.send, hub.push_object)
    missing, session = delivery.send()
    if taken:
        hub.aggregator_takes_the_outline()
    for name in sorted(missing):
        delivery.push_object(hub.run, session, name, hub.objects[name])
    assert hub.holds()


def test_flower_alone_gives_such_a_reply_up() -> None:
    hub = Hub([True], [])
    with pytest.raises(ObjectPushError):
        deliver(hub.send, hub.push_object, 1)
    assert not hub.holds()


def test_what_the_hub_never_takes_is_given_up() -> None:
    hub = Hub([], [True] * 100)
    delivery = Delivery(hub.send, hub.push_object)
    with pytest.raises(ObjectPushError):
        deliver(delivery.send, delivery.push_object, 1)


def test_flower_still_sends_by_these_two_names() -> None:
    from flwr.supernode import start_client_internal as internals

    assert {"send", "push_object"} <= set(inspect.signature(internals._push_messages).parameters)
    source = inspect.getsource(internals.start_client_internal)
    assert "_push_messages(\n" in source and "send=send," in source and "push_object=push_object," in source
