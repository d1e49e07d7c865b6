"""Tells systemd that a daemon is up, alive and ending: sd_notify(3) is one datagram to a socket it names."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Speaks to the service manager that started this process; to nobody when none did."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        found = os.environ if environment is None else environment
        self._address = found.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        self._period = _watchdog_seconds(found) / 2
        self._last = float("-inf")
        self._up = False

    def ready(self) -> None:
        """Says once that the daemon is up."""
        if not self._up:
            self._up = True
            self._send("READY=1")

    def alive(self, status: str = "") -> None:
        """Says that the daemon's loop turns, at most twice in the time that the watchdog grants."""
        now = time.monotonic()
        if self._period and now - self._last >= self._period:
            self._last = now
            self._send("WATCHDOG=1" + (f"\nSTATUS={status}" if status else ""))

    def stopping(self) -> None:
        """Says that the daemon ends."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.connect(self._address)
            out.sendall(text.encode())


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """Returns the time that the watchdog grants this process, 0 where there is none (sd_watchdog_enabled(3))."""
    usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    mine = not pid or pid == str(os.getpid())
    return int(usec) / 1e6 if usec.isdigit() and mine else 0.0


def credential(name: str) -> str | None:
    """Returns the path at which systemd lays a credential of that name (LoadCredential=), None where it lays none."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = os.path.join(folder, name) if folder else ""
    return path if path and os.path.exists(path) else None
