"""Asking many sites at once and taking each answer as it comes, within a bounded time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Literal

from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

from common.errors import ConfigError, SiteCode
from common.messages import Answer, Refusal, unpack_answer

POLL_SECONDS = 0.2
OUT_OF_REACH = (3, 4, 5)
"""Flower's error codes for a message or a reply that got lost, and for a node without a heartbeat."""


def ask(
    grid: Grid, requests: Mapping[int, RecordDict], kind: Literal["train", "evaluate", "query"], timeout: float
) -> Iterator[tuple[int, Answer | Refusal]]:
    """Yields ``(node, answer)`` for every node that was asked, in the order of arrival.

    A node that does not answer within ``timeout`` seconds, reports an error or sends something malformed yields a
    :class:`Refusal` with the code that says which; its ``site`` is empty, for the hub knows its own roster.
    """
    nodes = dict(
        zip(
            grid.push_messages(
                [Message(content=content, message_type=kind, dst_node_id=node) for node, content in requests.items()]
            ),
            requests,
            strict=True,
        )
    )
    deadline = time.monotonic() + timeout
    while nodes:
        replies = list(grid.pull_messages(list(nodes)))
        for reply in replies:
            node = nodes.pop(reply.metadata.reply_to_message_id, None)
            if node is not None:
                yield node, _read(reply)
        if nodes and not replies:
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
    for node in nodes.values():
        yield node, Refusal(site="", code=SiteCode.NO_ANSWER)


def _read(reply: Message) -> Answer | Refusal:
    if reply.has_error():
        return Refusal(site="", code=_code(reply.error))
    try:
        return unpack_answer(reply.content)
    except (ConfigError, ValueError, TypeError, OSError):
        return Refusal(site="", code=SiteCode.BAD_UPDATE)


def _code(error: Error) -> SiteCode:
    return SiteCode.UNAVAILABLE if error.code in OUT_OF_REACH else SiteCode.TRAINING_FAILED
