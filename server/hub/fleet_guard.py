"""A hospital speaks to the SuperLink for itself, and only to answer what the hub has sent to it.

Flower checks that the node named in a request's body is the one that signed the request's headers, and believes the
rest of the body: a message that says it comes from node 1 and answers nothing is stored as the hub's own request to
another hospital. So what comes is judged here, after Flower has parsed it and proved the node, before it is stored.
Private names of Flower are used here only; ``tests/attacks/test_forged_requests.py`` fails on a Flower that has moved
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from server.hub.gate import FOR_HOSPITALS, FOR_WORKERS, App, Receive, Scope, Send
from server.hub.object_trees import Announced, is_answer_tree

HUB_NODE = 1
"""Flower's number of the SuperLink, which requests come from and answers go to."""
LATEST = 1e11
"""Seconds since 1970, in the year 5138; no clock and no time to live goes beyond."""
_REFUSAL = b'{"detail": "A hospital may only answer what the hub has sent to it"}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_REFUSAL)).encode())]


class FleetGuard:
    """ASGI middleware that answers 403 to what a hospital may not do; it stands behind Flower's own checks."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._objects: dict[int, frozenset[str]] = {}
        self._announced = Announced()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or refuses it."""
        if scope["type"] != "http" or not str(scope["path"]).startswith((FOR_HOSPITALS, FOR_WORKERS)):
            return await self._app(scope, receive, send)
        from starlette.concurrency import run_in_threadpool

        request = scope.get("state", {}).get("protobuf_request")
        state = scope["app"].state.linkstate_factory.state()
        of_hospital = str(scope["path"]).startswith(FOR_HOSPITALS)
        if of_hospital and not await run_in_threadpool(self._allows, request, state):
            await send({"type": "http.response.start", "status": 403, "headers": _HEADERS})
            return await send({"type": "http.response.body", "body": _REFUSAL})
        trees = tuple(getattr(request, "message_object_trees", ()))
        if trees and not of_hospital and await run_in_threadpool(_is_hub, scope, state):
            await run_in_threadpool(self._announced.give_way, trees, state.object_store)
        try:
            await self._app(scope, receive, send)
        finally:
            for tree in trees if of_hospital else ():
                await run_in_threadpool(self._announced.settle, tree, state.object_store)

    def _allows(self, request: Any, state: Any) -> bool:
        match type(request).__name__:
            case "PushMessagesRequest":
                allowed = _is_answer(request, state)
                if allowed:
                    self._announced.come(request.message_object_trees[0])
                return allowed
            case "PullObjectRequest":
                return self._is_sent(request, state)
            case "ConfirmMessageReceivedRequest":
                return _receiver(state, request.message_object_id) == request.node.node_id or _is_gone(
                    state, request.message_object_id
                )
            case name:
                return name in _NAMING_NOBODY_ELSE

    def _is_sent(self, request: Any, state: Any) -> bool:
        """Whether the object is part of a message to that very node; what was found once is remembered."""
        node, wanted = request.node.node_id, request.object_id
        if wanted in self._objects.get(node, ()):
            return True
        sent = frozenset(_objects_sent(state, request.run_id, node))
        self._objects[node] = sent
        return wanted in sent or _is_gone(state, wanted)


_NAMING_NOBODY_ELSE = frozenset({
    "RegisterNodeFleetRequest", "ActivateNodeRequest", "DeactivateNodeRequest", "UnregisterNodeFleetRequest",
    "SendNodeHeartbeatRequest", "PullMessagesRequest", "GetRunRequest", "GetFabRequest", "PushObjectRequest",
})  # fmt: skip
"""Requests that name the proved node and no other; what is pushed as an object has a number that nobody can guess."""


def install() -> None:
    """Puts the guard behind Flower's own checks; call it after :func:`server.hub.gate.install`."""
    from flwr.superlink import extensions
    from starlette.middleware import Middleware

    before = extensions.configure_app

    def configure(app: Any) -> None:
        before(app)
        app.user_middleware.append(Middleware(FleetGuard))

    vars(extensions)["configure_app"] = configure


def _is_answer(request: Any, state: Any) -> bool:
    """Whether exactly one message is pushed, from the proved node to the hub, in answer to one that it was sent.

    A message that the hub has forgotten by now passes: Flower stores no answer to it.
    """
    if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
        return False
    if not is_answer_tree(request.message_object_trees[0], request.messages_list[0].metadata.message_id):
        return False
    told, node = request.messages_list[0].metadata, request.node.node_id
    if (told.src_node_id, told.dst_node_id) != (node, HUB_NODE) or not told.reply_to_message_id:
        return False
    if not _are_times(told.created_at, told.ttl, *request.clientapp_runtime_list):
        return False
    return _receiver(state, told.reply_to_message_id) in (node, None)


def _is_hub(scope: Scope, state: Any) -> bool:
    """Whether the request holds the token of the hub's task, which Flower asks for only later."""
    token = dict(scope["headers"]).get(b"flwr-task-token", b"").decode("latin-1")
    return bool(token) and state.get_task_by_token(token) is not None


def _are_times(*seconds: float) -> bool:
    """Whether Flower can store and add them; it stores not-a-number as nothing, and then fails on each pull.

    An answer that comes late has a negative time to live, and Flower has words for it.
    """
    return all(math.isfinite(value) and abs(value) < LATEST for value in seconds)


def _receiver(state: Any, message_id: str) -> int | None:
    """Returns the node that the hub sent the message to; None where there is no such message."""
    found = state.get_valid_message_ins(message_id)
    return None if found is None else int(found["dst_node_id"]) % 2**64


def _is_gone(state: Any, object_id: str) -> bool:
    """Whether there is no such object, as after the end of its run; Flower then has words that a site understands."""
    return state.object_store.get(object_id) is None


def _objects_sent(state: Any, run_id: int, node: int) -> Iterator[str]:
    from flwr.supercore.object_store import NoObjectInStoreError

    for message_id in state.get_message_ids_from_run_id(run_id):
        if _receiver(state, message_id) != node:
            continue
        try:
            yield from _all_ids(state.object_store.get_object_tree(message_id))
        except NoObjectInStoreError:
            continue


def _all_ids(tree: Any) -> Iterator[str]:
    yield tree.object_id
    for child in tree.children:
        yield from _all_ids(child)
