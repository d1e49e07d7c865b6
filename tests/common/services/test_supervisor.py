"""Children start again, wait longer each time, and never outlive their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from common.services.supervisor import Backoff, Child


def _until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def _child(tmp_path: Path, code: str, backoff: Backoff | None = None) -> Child:
    return Child(
        name="child", command=[sys.executable, "-c", code], environment=dict(os.environ), folder=tmp_path,
        log=tmp_path / "child.log", backoff=backoff or Backoff(first=0.01, longest=0.02),
    )  # fmt: skip


@given(st.integers(1, 10_000), st.floats(0.01, 10), st.floats(1, 100))
def test_pauses_grow_to_a_longest_one(failures: int, first: float, longest: float) -> None:
    backoff = Backoff(first=first, longest=longest)
    assert 0 < backoff.pause(failures) <= longest
    assert backoff.pause(failures + 8) >= 0.75 * min(longest, first * 2.0 ** min(failures - 1, 32))


def test_a_child_that_dies_starts_again_and_says_how_it_died(tmp_path: Path) -> None:
    child = _child(tmp_path, "print('hello', flush=True); raise SystemExit(3)")
    _until(lambda: (child.tend(), child.lives == 3)[1])
    _until(lambda: (child.tend(), child.process is None)[1])
    assert child.last_exit == 3
    assert (tmp_path / "child.log").read_text().count("hello") >= 2
    child.stop()


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    child = _child(tmp_path, code)
    child.tend()
    _until(lambda: (tmp_path / "child.log").read_text())
    child.stop(grace=0.05)
    assert child.last_exit == -signal.SIGKILL and child.pid is None


def test_a_child_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    wait = "time.sleep(60)"
    child = f"from common.services.supervisor import *; die_with_parent(); import time; print(1, flush=True); {wait}"
    start = f"p = subprocess.Popen([sys.executable, '-c', {child!r}]); print(p.pid, flush=True)"
    parent = f"import subprocess, sys, time; {start}; {wait}"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = {process.stdout.readline().strip() for _ in range(2)}
    (pid,) = (int(line) for line in lines if line != "1")
    process.kill()
    process.wait()
    process.stdout.close()
    _until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])
