"""Flower's SuperNode as a site starts it: it ends with the daemon, and it looks for messages more often.

Run as ``python -m client.node.supernode --client-certificate PEM --client-key KEY`` with Flower's own arguments. Three
private names of Flower are used, here only: its fixed wait of three seconds between two looks, which would be most of
a small round, its way to take a message with the store that it takes it to, and its way to send a reply.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from common.flower.patches import HEARTBEAT_SECONDS, endure_cuts, keep_beating, quicken, show_certificate
from common.services.supervisor import die_with_parent

Pull = Callable[..., int | None]
BUSY_SECONDS = 60.0
"""For so long after a message the next one is expected soon."""
LOOK_SECONDS = 0.5
REPLY_SECONDS = 0.1
SIGNED_BACK_SECONDS = 150.0


class Sleeper:
    """Flower's two waits: half a second for a reply of the worker, three for a message of the hub.

    Both are shortened while a run is on; an idle site keeps Flower's pace, so that many of them cost a hub little.
    """

    def __init__(self) -> None:
        self._busy_until = 0.0

    def sleep(self, seconds: float) -> None:
        """Sleeps at most ``seconds``."""
        waits_for_reply = seconds < 1.0
        if waits_for_reply:
            self._busy_until = time.monotonic() + BUSY_SECONDS
        shorter = REPLY_SECONDS if waits_for_reply else LOOK_SECONDS
        time.sleep(min(seconds, shorter) if time.monotonic() < self._busy_until else seconds)


def without_orphans(pull: Pull) -> Pull:
    """Returns Flower's way to take a message, mended: a run that ends while its message arrives leaves nothing behind.

    Flower leaves the task of such a message, and the worker would wait for its arrays for hours.
    """

    def wrapped(*, state: Any, receive: Callable[[], Any], **others: Any) -> int | None:
        taken: list[Any] = []

        def noted() -> Any:
            found = receive()
            taken.extend([] if found is None else [found[0].metadata])
            return found

        run_id = pull(state=state, receive=noted, **others)
        for message in taken if run_id is None else ():
            for task in state.get_tasks(run_ids=[message.run_id]):
                state.finish_task(task.task_id, "failed", "The run ended")
            state.delete_messages(message_ids=[message.message_id])
        return run_id

    return wrapped


def with_last_kept(pull: Pull) -> Pull:
    """Returns Flower's way to take a message, by which what the next one repeats need not travel again.

    A round is trained from the weights that were scored at the end of the one before. Flower names arrays by their
    hash and asks for missing ones only, but forgets them with their message; here the last message's are kept until
    the next has come.
    """
    kept: list[tuple[Any, str]] = []

    def wrapped(*, object_store: Any, receive: Callable[[], Any], **others: Any) -> int | None:
        taken: list[str] = []

        def noted() -> Any:
            found = receive()
            taken.extend([] if found is None else [found[0].metadata.message_id])
            return found

        run_id = pull(object_store=object_store, receive=noted, **others)
        for message_id in taken:
            _let_go(kept)
            _keep(object_store, message_id, kept)
        return run_id

    return wrapped


def _keep(store: Any, message_id: str, kept: list[tuple[Any, str]]) -> None:
    """Counts one more reference to the message's objects, so that answering it does not delete them."""
    with store.lock_store:
        if entry := store.store.get(message_id):
            entry.ref_count += 1
            kept.append((store, message_id))


def _let_go(kept: list[tuple[Any, str]]) -> None:
    while kept:
        store, message_id = kept.pop()
        with store.lock_store:
            if entry := store.store.get(message_id):
                entry.ref_count -= 1
        store.delete(message_id)


def sign_a_little_back() -> None:
    """Has requests signed with a time a little in the past, so that a clock may be wrong by it both ways.

    The SuperLink takes what was signed at most 305 s before its own time, and at most 5 s after: a hospital whose clock
    is 10 s fast would stay out.
    """
    from flwr.supernode import node_auth_http_interceptor as interceptor

    true_now = vars(interceptor)["now"]
    vars(interceptor)["now"] = lambda: true_now() - timedelta(seconds=SIGNED_BACK_SECONDS)


def main() -> None:
    """Runs the SuperNode in this process."""
    die_with_parent()
    quicken(HEARTBEAT_SECONDS)
    endure_cuts()
    keep_beating()
    _show_certificate()
    sign_a_little_back()
    from flwr.supernode import start_client_internal as internals
    from flwr.supernode.cli.flower_supernode import flower_supernode

    from client.node.delivery import sending_whole

    vars(internals)["time"] = SimpleNamespace(sleep=Sleeper().sleep)
    vars(internals)["_pull_and_store_message"] = with_last_kept(without_orphans(internals._pull_and_store_message))
    vars(internals)["_push_messages"] = sending_whole(internals._push_messages)
    _run_to_the_end(flower_supernode)


def _run_to_the_end(run: Callable[[], object]) -> None:
    """Ends the process with Flower's loop: after a lost connection its other threads would keep it for ever."""
    try:
        run()
        print("The loop of the SuperNode ended; the daemon starts it anew", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)


def _show_certificate() -> None:
    """Takes our own two arguments from the command line, and leaves the others to Flower."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--client-certificate", type=Path, required=True)
    parser.add_argument("--client-key", type=Path, required=True)
    ours, others = parser.parse_known_args(sys.argv[1:])
    sys.argv[1:] = others
    show_certificate(ours.client_certificate, ours.client_key)


if __name__ == "__main__":
    main()
