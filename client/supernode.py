"""Flower's SuperNode as a site starts it: it ends with the daemon, and it looks for messages more often.

Run as ``python -m client.supernode`` with Flower's own arguments. One private name of Flower is used, here only:
the SuperNode waits a fixed three seconds between two looks, which would be most of a small round.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

from common.flower import HEARTBEAT_SECONDS, quicken
from common.supervisor import die_with_parent

BUSY_SECONDS = 60.0
"""For so long after a message the next one is expected soon."""
LOOK_SECONDS = 0.5
REPLY_SECONDS = 0.1


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


def main() -> None:
    """Runs the SuperNode in this process."""
    die_with_parent()
    quicken(HEARTBEAT_SECONDS)
    from flwr.supernode import start_client_internal as internals
    from flwr.supernode.cli.flower_supernode import flower_supernode

    vars(internals)["time"] = SimpleNamespace(sleep=Sleeper().sleep)
    flower_supernode()


if __name__ == "__main__":
    main()
