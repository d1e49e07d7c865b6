"""Keeps a few child processes alive: restarted with growing pauses, ended with their parent however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import ConfigError, NetworkError

PR_SET_PDEATHSIG = 1
STEADY_SECONDS = 60.0
"""A child that lived so long starts its next life at once."""

PATIENCE_SECONDS = 0.5
"""Whoever only asks whether a lock is held holds it for a moment."""


def die_with_parent(expected_parent: int | None = None) -> None:
    """Has the kernel kill this process when the process that started it dies, even by kill -9 (Linux only).

    Call it first thing in a child. ``expected_parent`` closes the gap in which the parent dies before the call.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if expected_parent is not None and os.getppid() != expected_parent:
        os._exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses between lives: ``first`` seconds, doubled up to ``longest``, each shortened by up to a quarter."""

    first: float = 1.0
    longest: float = 60.0

    def pause(self, failures: int) -> float:
        """Returns the seconds to wait after so many failures in a row (at least one)."""
        full = min(self.longest, self.first * 2.0 ** min(failures - 1, 32))
        return full * random.uniform(0.75, 1.0)


@dataclass(slots=True, kw_only=True)
class Child:
    """One process that should run; :meth:`tend` starts it when it is due and notices when it ends.

    Attributes:
        lives: How often it was started.
        last_exit: Exit code of the last life; negative for a signal.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    backoff: Backoff = field(default_factory=Backoff)
    lives: int = 0
    last_exit: int | None = None
    process: subprocess.Popen[bytes] | None = None
    _failures: int = 0
    _started: float = 0.0
    _due: float = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self.process.pid if self.process is not None else None

    def tend(self) -> bool:
        """Starts or buries it; returns whether anything changed."""
        if self.process is None:
            if time.monotonic() < self._due:
                return False
            self._start()
            return True
        code = self.process.poll()
        if code is None:
            return False
        self._bury(code)
        return True

    def stop(self, grace: float = 10.0) -> None:
        """Ends it: SIGTERM, and SIGKILL after ``grace`` seconds."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.last_exit = self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.last_exit = self.process.wait()
        self.process = None

    def restart(self) -> None:
        """Ends it now and lets it start again at once."""
        self.stop(grace=1.0)
        self._failures, self._due = 0, 0.0

    def _start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                list(self.command), cwd=self.folder, env=dict(self.environment), stdin=subprocess.DEVNULL,
                stdout=sink, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.lives += 1
        self._started = time.monotonic()

    def _bury(self, code: int) -> None:
        self.process, self.last_exit = None, code
        lived = time.monotonic() - self._started
        self._failures = 1 if lived > STEADY_SECONDS else self._failures + 1
        self._due = time.monotonic() + self.backoff.pause(self._failures)


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Holds a lock file; the kernel lets it go when this process ends.

    Raises:
        ConfigError: Another process holds it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise ConfigError(f"A daemon runs in {path.parent} already; ask its `status` command")
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Tells whether a living process holds the lock file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        return not _locked(descriptor)
    finally:
        os.close(descriptor)


def last_state(path: Path, lock: Path, who: str) -> dict[str, Any]:
    """Returns what the daemon that holds ``lock`` last wrote to ``path``; ``dead`` where it is gone without a word.

    Raises:
        NetworkError: The file cannot be read; ``who`` says what to restart.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"status": "never started", "processes": {}}
    except ValueError:
        raise NetworkError(f"{path} is damaged; restart the {who}") from None
    if found["status"] != "stopped" and not is_held(lock):
        found["status"] = "dead"
    return found


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Stop:
    """Turns SIGTERM and SIGINT into a flag; use it in the main thread."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True
