"""The hub's journal: a chain of signed lines that says who did what, and shows when somebody changed it."""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from common.errors import TrustError
from common.trust.durable import exclusive, sync_folder
from common.trust.journal import Entry, Head, first_bad, next_entry
from common.trust.signing import SiteKey
from server.hub.home import HubHome


def record(home: HubHome, event: str, **facts: str) -> None:
    """Adds one event, durably, with the time and the user of this machine.

    Raises:
        TrustError: The journal was changed by somebody else; nothing is added to it.
    """
    key = SiteKey.open(home.path / "hub.ed25519")
    with exclusive(home.path / "journal.lock", seconds=30.0):
        entries = read(home)
        head = entries[-1].head if entries else Head()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = next_entry(head, {"time": now, "user": _user(), "event": event} | facts, key)
        path = home.path / "journal.jsonl"
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(home.path)


def read(home: HubHome) -> list[Entry]:
    """Returns all entries.

    Raises:
        TrustError: One of them cannot be believed; the message says which.
    """
    path = home.path / "journal.jsonl"
    if not path.exists():
        return []
    public = SiteKey.open(home.path / "hub.ed25519").public_hex
    try:
        rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        entries = [Entry(**row) for row in rows]
    except (ValueError, TypeError):
        raise TrustError(f"{path} is damaged; restore it from the backup") from None
    bad = first_bad(entries, public)
    if bad is not None:
        raise TrustError(f"{path} was changed: its entry {bad} does not follow; restore it from the backup")
    return entries


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
