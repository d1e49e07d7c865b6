"""The same ServerApp and ClientApp in one process: no SuperLink, no Ray, no waiting.

Messages are not serialised and sites answer one after another, in the order they were asked. Timeouts and lost
nodes do not happen here; a ClientApp that raises does, and is reported as Flower reports it. Two private names of
Flower are used, both in this file; ``tests/simulations/engine/test_grid.py`` fails on a Flower that has moved them.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

log = logging.getLogger("oncofed.site")

HUB_NODE_ID = 0
APP_RAISED = 2
NODE_UNAVAILABLE = 5
"""Flower's error codes for a ClientApp that raised and for a node that is not there."""

SiteApp = Callable[[Message, Context], Message]
"""What a ``flwr.clientapp.ClientApp`` is when it is called."""


class InProcessGrid(Grid):
    """A Grid whose nodes 1..N are calls of one ClientApp.

    A request is worked on when its answer is pulled, one a call, so a caller that takes answers as they come holds
    one update at a time however many sites there are. Each node keeps its ``Context.state`` over the run.
    """

    engine = "inprocess"

    def __init__(
        self, app: SiteApp, *, num_nodes: int, run_config: Mapping[str, Any] | None = None, run_id: int = 1,
        before_requests: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        if num_nodes < 1:
            raise ValueError(f"num_nodes must be at least 1, got {num_nodes}")
        self._app, self._before_requests = app, before_requests
        self._waiting: dict[str, Message] = {}
        self._numbers = itertools.count(1)
        self._contexts = {
            index + 1: Context(
                run_id=run_id,
                node_id=index + 1,
                node_config={"partition-id": index, "num-partitions": num_nodes},
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for index in range(num_nodes)
        }
        _become_hub(run_id)

    def get_node_ids(self) -> list[int]:
        """Returns 1..N."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Queues the requests and returns the id of each; what is raised before them ends the run."""
        self._before_requests()
        return [self._queue(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Returns the answer to the first of these requests that has none yet, or nothing when all have."""
        for message_id in message_ids:
            request = self._waiting.pop(message_id, None)
            if request is not None:
                return [self._answer(request)]
        return []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Returns all answers; ``timeout`` has no meaning in one process."""
        ids = self.push_messages(messages)
        return [reply for _ in ids for reply in self.pull_messages(ids)]

    def set_run(self, run: object) -> None:
        """Does nothing: there is one run."""

    @property
    def run(self) -> NoReturn:
        """Has no run record, which only a SuperLink keeps."""
        raise NotImplementedError("InProcessGrid keeps no run record; use context.run_id")

    def create_message(self, *args: object, **kwargs: object) -> NoReturn:
        """Is deprecated in Flower; build a ``Message`` instead."""
        raise NotImplementedError("Build flwr.app.Message(...) instead of grid.create_message(...)")

    def _queue(self, message: Message) -> str:
        message_id = f"m{next(self._numbers)}"
        _name(message, message_id)
        self._waiting[message_id] = message
        return message_id

    def _answer(self, request: Message) -> Message:
        context = self._contexts.get(request.metadata.dst_node_id)
        if context is None:
            return _failed(request, NODE_UNAVAILABLE, "no such node")
        try:
            reply = self._app(request, context)
        except Exception as error:
            log.warning("The ClientApp of node %d raised", context.node_id, exc_info=error)
            reply = _failed(request, APP_RAISED, type(error).__name__)
        _name(reply, f"r{next(self._numbers)}")
        return reply


def _failed(request: Message, code: int, reason: str) -> Message:
    return Message(Error(code, reason), reply_to=request)


def _become_hub(run_id: int) -> None:
    """Gives this process the identity a SuperLink would give the ServerApp's (private in Flower)."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, HUB_NODE_ID, 1


def _name(message: Message, message_id: str) -> None:
    """Sets the id that a SuperLink would assign (private in Flower)."""
    vars(message.metadata)["_message_id"] = message_id
