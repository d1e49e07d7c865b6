"""What a message repeats of the one before it does not travel again, and nothing is kept for longer than that."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore

from client.checks.hub_checks import CLOCK_SECONDS
from client.node.supernode import with_last_kept

OLD, NEW = (np.full(8, value, np.float32) for value in (1.0, 2.0))


class Line:
    """Takes messages as Flower's SuperNode does, and counts the bytes that it asks for."""

    def __init__(self) -> None:
        self.store = InMemoryObjectStore()
        self.pull = with_last_kept(self._pull)
        self.asked = 0

    def deliver(self, values: np.ndarray, purpose: str) -> str:
        """What a message holds comes, the worker reads it, and Flower forgets it."""
        message = RecordDict({"arrays": ArrayRecord({"values": Array(values)}), "body": ConfigRecord({"for": purpose})})
        name = message.object_id
        self.asked = 0
        tagged = SimpleNamespace(metadata=SimpleNamespace(message_id=name), content=message)
        self.pull(state=None, object_store=self.store, receive=lambda: (tagged, get_object_tree(message)))
        assert all(self.store.get(one) for one in get_all_nested_objects(message))
        self.store.delete(name)
        return name

    def _pull(self, *, state: Any, object_store: InMemoryObjectStore, receive: Any) -> int | None:
        found = receive()
        if found is None:
            return None
        objects = get_all_nested_objects(found[0].content)
        for name in object_store.preregister(1, found[1]):
            content = objects[name].deflate()
            self.asked += len(content)
            object_store.put(name, content)
        return 1


def test_weights_that_were_scored_do_not_travel_again_to_be_trained_from() -> None:
    line = Line()
    line.deliver(OLD, "evaluate")
    first = line.asked
    line.deliver(OLD, "train")
    assert line.asked < first - OLD.nbytes
    line.deliver(NEW, "evaluate")
    assert line.asked >= NEW.nbytes


def test_only_the_last_message_is_kept() -> None:
    line = Line()
    line.deliver(OLD, "evaluate")
    kept = len(line.store)
    for _ in range(3):
        line.deliver(NEW, "train")
        line.deliver(OLD, "evaluate")
        assert len(line.store) == kept


def test_an_empty_look_changes_nothing() -> None:
    line = Line()
    line.deliver(OLD, "evaluate")
    kept = len(line.store)
    assert line.pull(state=None, object_store=line.store, receive=lambda: None) is None
    assert len(line.store) == kept


def test_flower_still_stores_messages_in_memory_by_hash_and_hands_the_store_over_by_name() -> None:
    import inspect

    from flwr.supernode import start_client_internal as internals

    assert {"object_store", "receive", "state"} <= set(inspect.signature(internals._pull_and_store_message).parameters)
    assert "object_store=store," in inspect.getsource(internals.start_client_internal)
    assert InMemoryObjectStore().lock_store and InMemoryObjectStore().store == {}


@pytest.mark.parametrize("end", ["return", "raise ValueError('lost')"])
def test_a_supernode_whose_loop_ended_does_not_stay(end: str) -> None:
    """A thread that is no daemon's, as the server of its own runtime, would keep the process for ever."""
    code = f"""
import threading
from client.node.supernode import _run_to_the_end
threading.Thread(target=threading.Event().wait).start()
def loop():
    {end}
_run_to_the_end(loop)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and ("lost" in done.stderr or "starts it anew" in done.stderr)


def test_a_clock_may_be_wrong_by_as_much_both_ways() -> None:
    from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE

    code = """
from flwr.supercore.date import now
from client.node.supernode import sign_a_little_back
sign_a_little_back()
from flwr.supernode import node_auth_http_interceptor
print((now() - node_auth_http_interceptor.now()).total_seconds())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    back = float(done.stdout)
    ahead, behind = back + SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE - back
    assert min(ahead, behind) > CLOCK_SECONDS, "doctor calls clocks right that the hub does not"
