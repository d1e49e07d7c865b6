"""Ended means ended: a simulated run that broke off says so in its folder and its report, and how to go on."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from common.errors import ConfigError, FederationError
from common.runs.run_folder import MARKER, RunFolder
from common.services.supervisor import is_held, only_one

LOCK = ".running"
GONE = "the process that ran it is gone"


@contextmanager
def ending(folder: Path) -> Iterator[None]:
    """Lets nobody else run in the folder meanwhile; a body that breaks off leaves INTERRUPTED or FAILED there.

    Raises:
        ConfigError: Another process runs in the folder.
        FederationError, KeyboardInterrupt: The body's own, with the command that goes on.
    """
    with _alone(folder):
        before = _text(folder)
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_end(folder, before, "INTERRUPTED", "stopped by Ctrl-C or SIGTERM")) from None
        except FederationError as error:
            raise FederationError(f"{error}. {_end(folder, before, 'FAILED', str(error))}".strip()) from None


def settle(folder: Path) -> bool:
    """Writes INTERRUPTED into a run that says RUNNING while no process works on it; returns whether it did."""
    if _status(folder) != "RUNNING" or not (folder / LOCK).exists() or is_held(folder / LOCK):
        return False
    with suppress(ConfigError), _alone(folder):
        return _status(folder) == "RUNNING" and bool(_write(folder, "INTERRUPTED", GONE))
    return False


def go_on(folder: Path) -> str:
    """Returns the command that resumes the run."""
    return f"oncofed-sim run --resume {shlex.quote(str(folder))}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        with only_one(folder / LOCK):
            yield
    except ConfigError as error:
        if not is_held(folder / LOCK):
            raise
        raise ConfigError(f"Another process runs in {folder}; wait until it ends, or stop it") from error


def _end(folder: Path, before: str, status: str, reason: str) -> str:
    """Returns what a person can do now, having written the status unless the run has an end of its own."""
    if _text(folder) != before and _status(folder) not in ("", "RUNNING"):
        return ""
    if not _text(folder):
        return "No round had begun; start it again."
    return _write(folder, status, reason)


def _write(folder: Path, status: str, reason: str) -> str:
    from server.app import render

    run = RunFolder(folder)
    said = f"Go on with: {go_on(folder)}"
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    document = run.read_json(MARKER) | {"status": status, "reason": f"{reason}. {said}", "finished": finished}
    run.write_json(MARKER, document)
    render(folder)
    return said


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Makes SIGTERM what Ctrl-C is, so that both stop what was started; only a main thread can do so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _status(folder: Path) -> str:
    return str(RunFolder(folder).read_json(MARKER).get("status", ""))


def _text(folder: Path) -> str:
    path = folder / MARKER
    return path.read_text(encoding="utf-8") if path.exists() else ""
