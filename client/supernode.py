"""Flower's SuperNode as a site starts it: it ends with the daemon, and it looks for messages more often.

Run as ``python -m client.supernode`` with Flower's own arguments. One private name of Flower is used, here only:
the SuperNode waits a fixed three seconds between two looks, which would be most of a small round.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

from common.supervisor import die_with_parent

LOOK_SECONDS = 0.5


def main() -> None:
    """Runs the SuperNode in this process."""
    die_with_parent()
    from flwr.supernode import start_client_internal as internals
    from flwr.supernode.cli.flower_supernode import flower_supernode

    vars(internals)["time"] = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, LOOK_SECONDS)))
    flower_supernode()


if __name__ == "__main__":
    main()
