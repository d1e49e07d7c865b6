"""Ended means ended: a run whose aggregator is gone says INTERRUPTED, why, and how to go on; never RUNNING for good."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.runs.run_folder import MARKER, RunFolder
from common.services.supervisor import only_one
from server.hub.holder import AGGREGATOR_LOCK, holder, send
from server.hub.home import HubHome

INTERRUPTED = "INTERRUPTED"
GONE = "the aggregator ended before the run did"
END_SECONDS = 10.0


def last_folder(home: HubHome) -> Path | None:
    """Returns the folder of the newest run; None where there was none."""
    try:
        return Path(home.last_run.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return None


def settle(home: HubHome, reason: str = GONE) -> Path | None:
    """Writes INTERRUPTED into the newest run if it says RUNNING and no aggregator works on it; returns its folder then.

    A report of the rounds that were done is for ``--resume`` to finish, or for ``oncofed-hub status`` to name.
    """
    folder = last_folder(home)
    if folder is None or _status(folder) != "RUNNING" or holder(home.path) is not None:
        return None
    with contextlib.suppress(ConfigError), only_one(home.path / AGGREGATOR_LOCK):
        if _status(folder) != "RUNNING":
            return None
        run = RunFolder(folder)
        why = f"{reason}; go on with: oncofed-hub run --resume {folder}"
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        run.write_json(MARKER, run.read_json(MARKER) | {"status": INTERRUPTED, "reason": why, "finished": finished})
        return folder
    return None


def end_aggregator(home: HubHome) -> bool:
    """Ends the aggregator that runs, if one does: SIGTERM, then SIGKILL; returns whether one did.

    Raises:
        ConfigError: It does not end.
    """
    if holder(home.path) is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        send(home.path, number)
        deadline = time.monotonic() + END_SECONDS
        while holder(home.path) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        if holder(home.path) is None:
            return True
    raise ConfigError(f"The aggregator of the hub in {home.path} does not end; restart the hub")


def _status(folder: Path) -> str:
    try:
        found: Mapping[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(found.get("status"))
