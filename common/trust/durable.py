"""Files that are whole or absent after a crash, and a lock between processes."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import LedgerError

LOCK_SECONDS = 600.0
"""Longest wait for another process: the accountant may take a minute over a long mixed history."""
_POLL_SECONDS = 0.01


def write_durably(path: Path, text: str) -> None:
    """Replaces the file by ``text``: after a crash at any point it holds the old or the new text, whole."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Adds a line, durable when this returns, to a file that its owner only can read; its folder is there.

    The rest of a line that a crash cut short, which was never acknowledged, makes room for it.

    Args:
        path: The file, made if need be; a lock file stands beside it.
        line: Without its end.

    Raises:
        OSError: It could not be written; what was in the file is there still.
    """
    with exclusive(path.with_name(f".{path.name}.lock")):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end, rest = _whole(descriptor), line + b"\n"
            os.ftruncate(descriptor, end)
            while rest:
                written = os.pwrite(descriptor, rest, end)
                end, rest = end + written, rest[written:]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _whole(descriptor: int) -> int:
    """Returns where the last whole line ends."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 4096)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def make_folder(folder: Path) -> None:
    """Makes the folder if it is not there, and makes its name and those above it survive a power loss.

    Names above the mount point are left alone: they were there before, or nothing could be mounted on them. One that
    may not be listed is left alone too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = folder.stat().st_dev
    for above in folder.resolve().parents:
        if above.stat().st_dev != device:
            return
        with suppress(PermissionError):
            sync_folder(above)


def sync_folder(folder: Path) -> None:
    """Makes the names in ``folder`` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Holds the lock file ``path`` against all other processes and threads; a holder that dies lets it go.

    Raises:
        LedgerError: Another process kept the lock for longer than ``seconds``.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(descriptor, path, time.monotonic() + seconds)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LedgerError(
                    f"Another process holds {path} and does not let it go; end it, then try again"
                ) from None
        time.sleep(_POLL_SECONDS)
