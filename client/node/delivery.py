"""A reply reaches the hub whole, although connections break off.

Flower gives a reply up when the hub says that it does not wait for one of its arrays, which is also what the hub says
when it has the array already and only its answer was lost. Asked by the same reply again, the hub names what it lacks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from flwr.supercore.inflatable.inflatable_utils import ObjectPushError

Send = Callable[..., tuple[set[str], str]]
PushObject = Callable[[int, str, str, bytes], None]
TRIES = 5


class Delivery:
    """Flower's two ways to send, of a reply's outline and of its objects, mended; each reply after the one before."""

    def __init__(self, send: Send, push_object: PushObject) -> None:
        self._send, self._push = send, push_object
        self._lock = threading.Lock()
        self._reply: tuple[Any, ...] = ()
        self._session = ""
        self._given: dict[str, bytes] = {}

    def send(self, *reply: Any) -> tuple[set[str], str]:
        """Sends the outline; returns the names of the objects that the hub lacks, and its session for them."""
        self._reply, self._given = reply, {}
        missing, self._session = self._send(*reply)
        return missing, self._session

    def push_object(self, run_id: int, session: str, name: str, content: bytes) -> None:
        """Returns once the hub has the object; Flower calls it from several threads.

        Raises:
            ObjectPushError: The hub has not taken it in :data:`TRIES` sessions.
        """
        self._given[name] = content
        try:
            self._push(run_id, self._session, name, content)
        except ObjectPushError:
            with self._lock:
                self._push_what_is_missing(run_id)

    def _push_what_is_missing(self, run_id: int) -> None:
        for attempt in range(TRIES):
            missing, session = self._send(*self._reply)
            if missing:  # else the aggregator has the outline, and waits for the objects in the first session
                self._session = session
            try:
                for name in sorted(missing & self._given.keys()):
                    self._push(run_id, self._session, name, self._given[name])
                return
            except ObjectPushError:
                if attempt == TRIES - 1:
                    raise


def sending_whole(push_messages: Callable[..., None]) -> Callable[..., None]:
    """Returns Flower's way to send replies, mended."""

    def wrapped(*, send: Send, push_object: PushObject, **others: Any) -> None:
        delivery = Delivery(send, push_object)
        push_messages(send=delivery.send, push_object=delivery.push_object, **others)

    return wrapped
