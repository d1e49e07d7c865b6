"""Who holds the aggregator's lock, and which run it conducts: a process is known by its number and when it began."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from common.services.supervisor import is_held

AGGREGATOR_LOCK = "aggregator.lock"
CONDUCTED = "conducted"
"""Names the process that used a ticket last, and the folder of its run."""


def mark(pid: int | None = None) -> str:
    """Returns ``NUMBER BIRTH`` of a process, by default this one; empty where there is none of that number.

    The birth is in clock ticks since the machine started (proc_pid_stat(5), field 22), 0 where there is no ``/proc``.
    """
    number = os.getpid() if pid is None else pid
    try:
        fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "" if Path("/proc/self/stat").exists() else f"{number} 0"
    return "" if fields[0] == "Z" else f"{number} {fields[19]}"


def holder(home: Path) -> int | None:
    """Returns the number of the aggregator's process; None where none lives, whoever asks for the lock meanwhile."""
    lock = home / AGGREGATOR_LOCK
    if not is_held(lock):
        return None
    noted = lock.read_text(encoding="ascii", errors="replace").strip()
    number = noted.partition(" ")[0]
    return int(number) if number.isdecimal() and mark(int(number)) == noted else None


def conducted(home: Path) -> Path | None:
    """Returns the folder of the run that the living aggregator conducts; None before it has used its ticket."""
    number = holder(home)
    try:
        who, folder = (home / CONDUCTED).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ValueError):
        return None
    return Path(folder) if number is not None and mark(number) == who else None


def send(home: Path, number: int) -> bool:
    """Sends the signal to the aggregator and to no other process; returns whether there is one."""
    pid = holder(home)
    if pid is None:
        return False
    if not hasattr(os, "pidfd_open"):
        os.kill(pid, number)
        return True
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if holder(home) == pid:  # so that the descriptor is of the process that was judged
                signal.pidfd_send_signal(descriptor, number)
                return True
        finally:
            os.close(descriptor)
    return False
