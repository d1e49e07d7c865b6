"""``oncofed-hub run``: submits the study, follows it, and goes on from its last checkpoint whatever died meanwhile."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from common.config import compose
from common.errors import ConfigError, FederationError, NetworkError
from common.overrides import read_overrides
from common.supervisor import is_held, only_one
from common.trust.durable import write_durably
from server.hub.control import Control
from server.hub.home import HubHome
from server.hub.interrupted import end_aggregator, last_folder, settle
from server.hub.processes import aggregator_lives
from server.hub.tickets import Tickets
from server.run_folder import RunFolder

FINAL = ("COMPLETED", "PARTIAL", "FAILED")
TICK_SECONDS = 0.5
ASK_SECONDS = 10.0
"""Between two calls of ``flwr ls``, each of which takes a second of a core; the run's folder says the rest."""
FRUITLESS = 3
"""So many attempts without a new round, and the run is given up."""
UNSURE = (NetworkError, KeyError, ValueError)
"""What a hub answers of a run while it dies or comes back."""
Progress = Callable[[Mapping[str, Any]], None]

_PYPROJECT = """\
[project]
name = "oncofed"
version = "{version}"
description = "Names installed code; holds none"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "oncofed"

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
overrides = ""
out-dir = ""
resume = ""
ticket = ""
rehearsal = ""
"""


class Conductor:
    """Starts and follows runs of the hub's study."""

    def __init__(self, home: HubHome) -> None:
        self._home, self._control, self._rehearsal = home, Control(home), False

    def start(self, overrides: Sequence[str], out: Path | None, progress: Progress, *, rehearsal: bool = False) -> Path:
        """Returns the folder of a new run of the study that ``overrides`` compose, once it has ended.

        A ``rehearsal`` is one round with synthetic patients at every site, which costs no privacy.

        Raises:
            ConfigError: The study or the folder cannot be used.
            NetworkError: The hub is not there.
            FederationError: The run kept breaking down.
        """
        study = compose(overrides)
        kind = "check-" if rehearsal else ""
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{kind}{study.name}"
        folder = RunFolder.create((out or self._home.runs / name).resolve(), resume=False).path
        self._check_free()
        progress({"phase": "starting", "folder": str(folder), "rounds": study.training.rounds})
        return self._follow(folder, overrides, progress, rehearsal=rehearsal)

    def resume(self, folder: Path, progress: Progress) -> Path:
        """Returns the folder of an interrupted run, or of one that was left running, once it has ended.

        Raises:
            ConfigError: There is no run to go on with, it has ended, or another one runs.
        """
        folder = folder.resolve()
        found = read_status(folder)
        if found is None:
            raise ConfigError(f"{folder} holds no run to resume; oncofed-hub status names the runs")
        if found["status"] in ("COMPLETED", "PARTIAL"):
            raise ConfigError(f"The run in {folder} has ended as {found['status']}; start a new one")
        runs = aggregator_lives(self._home.path) and last_folder(self._home) == folder
        if not runs:
            self._check_free()
        progress({"phase": "following" if runs else "resuming", "folder": str(folder),
                  "rounds": found["rounds_planned"]})  # fmt: skip
        return self._follow(folder, read_overrides(folder / "overrides.yaml"), progress, runs=runs)

    def stop(self, folder: Path | None) -> Path:
        """Returns the folder of the run that was stopped: Flower and the aggregator work on it no more.

        Args:
            folder: The run; None: the newest.

        Raises:
            ConfigError: It does not run.
        """
        newest = last_folder(self._home)
        if newest is None or (folder is not None and folder.resolve() != newest):
            raise ConfigError(f"No run in {folder} goes on here; oncofed-hub status names the newest")
        write_durably(self._home.stop_asked, f"{newest}\n")
        with contextlib.suppress(*UNSURE, FileNotFoundError):
            if self._control.alive():
                self._control.stop_run(int(self._home.flower_run.read_text(encoding="ascii")))
        ended = end_aggregator(self._home)
        if not settle(self._home, "its operator stopped it") and not ended and not is_held(self._home.run_lock):
            raise ConfigError(f"The run in {newest} does not run; oncofed-hub status says how it ended")
        return newest

    def _check_free(self) -> None:
        """Raises ConfigError while another run goes on: two would ask the same hospitals at once."""
        if aggregator_lives(self._home.path) or is_held(self._home.run_lock):
            raise ConfigError(
                f"The run in {last_folder(self._home)} goes on; wait for it (oncofed-hub status), follow it "
                "(oncofed-hub run --resume), or end it (oncofed-hub stop)"
            )

    def _follow(
        self, folder: Path, overrides: Sequence[str], progress: Progress, *, runs: bool = False, rehearsal: bool = False
    ) -> Path:
        """Submits, watches, and submits again with ``resume`` while the run broke down without an end.

        What ``runs`` already is watched first.
        """
        with only_one(self._home.run_lock):
            write_durably(self._home.last_run, f"{folder}\n")
            self._home.stop_asked.unlink(missing_ok=True)
            self._rehearsal = rehearsal
            return self._to_its_end(folder, overrides, progress, runs)

    def _to_its_end(self, folder: Path, overrides: Sequence[str], progress: Progress, runs: bool) -> Path:
        seen, fruitless, patience = _Rounds(folder, progress), 0, self._home.config().restart_seconds * 4
        while fruitless < FRUITLESS:
            before, done = _stamp(folder), _rounds_done(folder)
            self._wait_for_hub(patience, progress)
            patience = math.inf  # what has begun waits for as long as a machine may be away
            details = self._attempt(folder, overrides, before, seen, progress, runs)
            runs = False
            if _final(folder, before):
                return folder
            self._check_stopped(folder)
            fruitless = 0 if _rounds_done(folder) > done else fruitless + 1
            progress({"phase": "interrupted", "reason": details})
        raise FederationError(
            f"The run in {folder} broke down {FRUITLESS} times without another round ({details}); see "
            f"{self._home.logs}, then go on with: oncofed-hub run --resume {folder}"
        )

    def _check_stopped(self, folder: Path) -> None:
        if self._home.stop_asked.exists():
            settle(self._home, "its operator stopped it")
            raise FederationError(f"The run was stopped; go on with: oncofed-hub run --resume {folder}")

    def _attempt(
        self, folder: Path, overrides: Sequence[str], before: float, seen: _Rounds, progress: Progress, runs: bool
    ) -> str:
        """Submits once, unless it runs already, and watches; returns why it broke off, if it did."""
        begun = read_status(folder) is not None
        try:
            if runs:
                return self._watch(folder, self._flower_run(), before, seen, progress)
            run_id = self._control.submit(self._app(), self._run_config(folder, overrides, resume=begun))
            write_durably(self._home.flower_run, str(run_id))
        except NetworkError as error:
            if not begun:
                raise
            time.sleep(ASK_SECONDS)
            return str(error)
        return self._watch(folder, run_id, before, seen, progress)

    def _watch(self, folder: Path, run_id: int, before: float, seen: _Rounds, progress: Progress) -> str:
        asked, lived = time.monotonic(), False
        while True:
            seen()
            lives = aggregator_lives(self._home.path)
            if not lives and _final(folder, before):  # it has written its last file
                return ""
            if lived and not lives:
                return self._stop(run_id, progress)
            lived = lived or lives
            if time.monotonic() - asked > ASK_SECONDS:
                asked = time.monotonic()
                try:
                    status, details = self._control.run_status(run_id)
                except UNSURE:
                    status, details = "unknown", ""
                if status.startswith("finished:"):
                    seen()
                    if not _final(folder, before):
                        end_aggregator(self._home)  # whose signs of life were lost, while it goes on
                    return details or status
            time.sleep(TICK_SECONDS)

    def _flower_run(self) -> int:
        try:
            return int(self._home.flower_run.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def _stop(self, run_id: int, progress: Progress) -> str:
        """Tells Flower, which would wait for another minute, that the aggregator died; returns why if it knows."""
        self._wait_for_hub(math.inf, progress)
        with contextlib.suppress(*UNSURE):
            status, details = self._control.run_status(run_id)
            if status.startswith("finished:"):
                return details
            self._control.stop_run(run_id)
        return "the aggregator died"

    def _wait_for_hub(self, seconds: float, progress: Progress) -> None:
        if self._control.alive():
            return
        progress({"phase": "waiting", "reason": "the hub does not answer; the run goes on once it does"})
        deadline = time.monotonic() + seconds
        while not self._control.alive():
            if time.monotonic() > deadline:
                raise NetworkError("The hub does not answer; start it with: oncofed-hub start")
            time.sleep(TICK_SECONDS)

    def _run_config(self, folder: Path, overrides: Sequence[str], *, resume: bool) -> dict[str, str]:
        where = {"resume": str(folder)} if resume else {"out-dir": str(folder)}
        ticket = Tickets.of(self._home.path).issue(folder)
        return {"overrides": shlex.join(overrides), "out-dir": "", "resume": "", "ticket": ticket,
                "rehearsal": "true" if self._rehearsal else ""} | where  # fmt: skip

    def _app(self) -> Path:
        """Returns a Flower app without a line of code: hub and sites run what is installed on them."""
        folder = self._home.flower / "app" / "oncofed"
        folder.mkdir(parents=True, exist_ok=True)
        text = _PYPROJECT.format(version=metadata.version("oncofed"))
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        return folder


class _Rounds:
    """Reports rounds as they are written to ``metrics.jsonl``."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder, self._progress = RunFolder(folder), progress
        self._seen = max((row["round"] for row in self._folder.read_metrics()), default=0)

    def __call__(self) -> None:
        for row in self._folder.read_metrics():
            if row["round"] > self._seen:
                self._seen = row["round"]
                self._progress(row)


def read_status(folder: Path) -> dict[str, Any] | None:
    """Returns the run's ``run.json``, None where there is none."""
    try:
        return dict(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _rounds_done(folder: Path) -> int:
    return int((read_status(folder) or {}).get("rounds_done", 0))


def _stamp(folder: Path) -> float:
    path = folder / "run.json"
    return path.stat().st_mtime_ns if path.exists() else 0.0


def _final(folder: Path, before: float) -> bool:
    """Tells whether this attempt, not the one before it, brought the run to its end."""
    found = read_status(folder)
    return found is not None and _stamp(folder) != before and found["status"] in FINAL
