"""Processes that a run starts, found again however deep they are, and ended.

Flower starts a SuperExec, that a simulation, that Ray, and Ray its workers, partly in sessions of their own. Two
nets catch them: the tree below what we started, remembered as it grows, and a mark that all inherit in their
environment. Only processes of this user that carry this run's mark, or that hang below it, are ever touched.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil

from simulations.engine.environment import MARK


class ProcessTree:
    """Everything below one process, and everything that carries its mark."""

    def __init__(self, root: int, mark: str) -> None:
        self._root = psutil.Process(root)
        self._mark = mark
        self._seen: set[psutil.Process] = {self._root}

    def look(self) -> set[psutil.Process]:
        """Remembers and returns the processes that are alive below the root now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._seen.update(self._root.children(recursive=True))
        self._seen = {process for process in self._seen if _alive(process)}
        return self._seen

    def runs(self, command: str) -> bool:
        """Tells whether a process of the tree was started as ``command`` (by file name)."""
        return any(command in _names(process) for process in self.look())

    def stop(self, grace: float = 5.0, conductor: str = "") -> None:
        """Ends every process of the tree; those that stay after ``grace`` seconds are killed.

        Returns when none is left that this user may end.

        Args:
            grace: Seconds.
            conductor: File name of the command that waits for the others; it is killed first, before it can take
                the end of the others for a fault of the run and write so.
        """
        if conductor:
            waiting = {process for process in self.look() if conductor in _names(process)}
            _send(waiting, signal.SIGKILL)
            psutil.wait_procs(waiting, timeout=grace)
        _end(lambda: self.look() | _marked(self._mark), grace)


@contextlib.contextmanager
def watchdog(mark: str, folder: Path) -> Iterator[None]:
    """Has everything that carries ``mark`` ended, and ``folder`` removed, even if this process is killed meanwhile.

    A small process waits for the end of a pipe that only this process holds; no kill -9 keeps it open.
    """
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", __name__, mark, str(folder)]
    dog = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        dog.communicate()


def _watch(mark: str, folder: Path) -> None:
    sys.stdin.read()
    _end(lambda: _marked(mark), grace=5.0)
    shutil.rmtree(folder, ignore_errors=True)


def _end(find: Callable[[], set[psutil.Process]], grace: float) -> None:
    _send(find(), signal.SIGTERM)
    psutil.wait_procs(find(), timeout=grace)
    for _ in range(5):
        left = find()
        if not left:
            return
        _send(left, signal.SIGKILL)
        psutil.wait_procs(left, timeout=grace)


def _marked(mark: str) -> set[psutil.Process]:
    return {process for process in psutil.process_iter() if _mark_of(process) == mark and _alive(process)}


def _send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _names(process: psutil.Process) -> set[str]:
    try:
        return {Path(word).name for word in process.cmdline()[:2]}
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return set()


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


if __name__ == "__main__":
    _watch(sys.argv[1], Path(sys.argv[2]))
