"""Asking many sites at once and taking each answer as it comes, within a bounded time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from queue import Empty, SimpleQueue
from typing import Literal

import httpx
from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

from common.errors import SiteCode, TrustError
from common.protocol.messages import Answer, Refusal, unpack_answer
from common.protocol.signed_request import answered, claims_digest

log = logging.getLogger("oncofed")
POLL_SECONDS = 0.2
FIRST_POLL_SECONDS, POLLS_AT_FIRST, MAX_POLLS_A_SECOND = 0.02, 50, 10
"""Polls a second are of all sites together: each poll is a request to the SuperLink."""
LATE = 0.1
"""Share of the time that has passed since the question by which an answer may be noticed late."""
AWAY_SECONDS = 5.0
"""A look that takes longer shows that the hub's own SuperLink was away, or that the hub stood still."""
OUT_OF_REACH = (3, 4, 5)
"""Flower's error codes for a message or a reply that got lost, and for a node without a heartbeat."""
Arrival = Message | Exception


def ask(
    grid: Grid,
    requests: Mapping[int, RecordDict],
    kind: Literal["train", "evaluate", "query"],
    timeout: float,
    away: threading.Event | None = None,
) -> Iterator[tuple[int, Answer | Refusal]]:
    """Yields ``(node, answer)`` for every node that was asked, in the order of arrival.

    A node that does not answer within ``timeout`` seconds, reports an error or sends something malformed yields a
    :class:`Refusal` with the code that says which; its ``site`` is empty, for the hub knows its own roster. So does one
    whose answer names the claims of another request. ``away`` is set once the hub itself could not look: sites may
    then be called out of reach only because they had not found back to it.
    """
    messages = [Message(content=content, message_type=kind, dst_node_id=node) for node, content in requests.items()]
    sent = list(zip(grid.push_messages(messages), requests, strict=True))
    nodes = {message_id: node for message_id, node in sent if message_id}
    claims = {node: claims_digest(content) for node, content in requests.items()}
    one_process = getattr(grid, "engine", "") == "inprocess"
    arrivals = (
        _in_turn(grid, tuple(nodes))
        if one_process
        else _as_they_come(grid, tuple(nodes), timeout, away or threading.Event())
    )
    for message_id, reply in arrivals:
        node = nodes.pop(message_id)
        yield node, _read(node, reply, claims[node])
    for node in nodes.values():
        yield node, Refusal(site="", code=SiteCode.NO_ANSWER)
    for message_id, node in sent:
        if not message_id:  # the SuperLink took no message for it
            yield node, Refusal(site="", code=SiteCode.UNAVAILABLE)


def look_seconds(replies: int) -> float:
    """Returns the most seconds between two looks for each of so many replies."""
    return max(POLL_SECONDS, replies / MAX_POLLS_A_SECOND)


def pause_seconds(passed: float, replies: int) -> float:
    """Returns the seconds until the next look for one of so many replies, so long after it was asked for."""
    return min(look_seconds(replies), max(FIRST_POLL_SECONDS, replies / POLLS_AT_FIRST, LATE * passed))


def _in_turn(grid: Grid, message_ids: tuple[str, ...]) -> Iterator[tuple[str, Arrival]]:
    """Yields each reply of a grid whose pull is the site's own work, so that neither threads nor a deadline fit it."""
    for message_id in message_ids:
        for reply in grid.pull_messages([message_id]):
            yield message_id, reply


def _as_they_come(
    grid: Grid, message_ids: tuple[str, ...], timeout: float, away: threading.Event
) -> Iterator[tuple[str, Arrival]]:
    """Yields what arrives within ``timeout`` seconds.

    A pull ends only when all of a reply has come, which its sender can put off for hours. So each reply has a thread
    of its own, which holds up nobody and is left behind at the deadline.
    """
    arrived: SimpleQueue[tuple[str, Arrival]] = SimpleQueue()
    over = threading.Event()
    for message_id in message_ids:
        arguments = (grid, message_id, arrived, over, len(message_ids), away)
        threading.Thread(target=_pull, args=arguments, daemon=True).start()
    deadline = time.monotonic() + timeout
    try:
        for _ in message_ids:
            yield arrived.get(timeout=max(0.0, deadline - time.monotonic()))
    except Empty:
        return
    finally:
        over.set()


def _pull(
    grid: Grid,
    message_id: str,
    arrived: SimpleQueue[tuple[str, Arrival]],
    over: threading.Event,
    replies: int,
    away: threading.Event,
) -> None:
    asked = time.monotonic()
    while not over.is_set():
        started = time.monotonic()
        try:
            found = list(grid.pull_messages([message_id]))
        except Exception as error:
            return arrived.put((message_id, error))
        if time.monotonic() - started > AWAY_SECONDS:
            away.set()
        if found:
            return arrived.put((message_id, found[0]))
        over.wait(pause_seconds(time.monotonic() - asked, replies))


def _read(node: int, reply: Arrival, claims: str) -> Answer | Refusal:
    """Returns the answer; what cannot be read is its sender's failure and never the run's.

    The SuperLink answers the pull of this one reply with an error where it cannot read what the site has stored.

    Raises:
        httpx.HTTPError: The hub's own SuperLink could not be asked, which is nobody else's failure.
    """
    if isinstance(reply, httpx.HTTPError) and not isinstance(reply, httpx.HTTPStatusError):
        raise reply
    try:
        if isinstance(reply, Exception):
            raise reply
        if reply.has_error():
            return Refusal(site="", code=_code(reply.error))
        if answered(reply.content) != claims:
            raise TrustError("it answers another request")
        return unpack_answer(reply.content)
    except Exception as error:  # a site chooses its bytes, and with them which error of which library they lead to
        log.warning("The answer of node %d cannot be read: %.200r", node, error)
        return Refusal(site="", code=SiteCode.BAD_UPDATE)


def _code(error: Error) -> SiteCode:
    return SiteCode.UNAVAILABLE if error.code in OUT_OF_REACH else SiteCode.TRAINING_FAILED
