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
from common.trust.durable import write_durably
from server.hub.control import Control
from server.hub.home import HubHome
from server.hub.processes import aggregator_lives
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
"""


class Conductor:
    """Starts and follows runs of the hub's study."""

    def __init__(self, home: HubHome) -> None:
        self._home, self._control = home, Control(home)

    def start(self, overrides: Sequence[str], out: Path | None, progress: Progress) -> Path:
        """Returns the folder of a new run of the study that ``overrides`` compose, once it has ended.

        Raises:
            ConfigError: The study or the folder cannot be used.
            NetworkError: The hub is not there.
            FederationError: The run kept breaking down.
        """
        study = compose(overrides)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{study.name}"
        folder = RunFolder.create((out or self._home.runs / name).resolve(), resume=False).path
        progress({"phase": "starting", "folder": str(folder), "rounds": study.training.rounds})
        return self._follow(folder, overrides, progress)

    def resume(self, folder: Path, progress: Progress) -> Path:
        """Returns the folder of an interrupted run, once it has ended.

        Raises:
            ConfigError: There is no run to go on with, or it has ended.
        """
        folder = folder.resolve()
        found = read_status(folder)
        if found is None:
            raise ConfigError(f"{folder} holds no run to resume; oncofed-hub status names the runs")
        if found["status"] in ("COMPLETED", "PARTIAL"):
            raise ConfigError(f"The run in {folder} has ended as {found['status']}; start a new one")
        progress({"phase": "resuming", "folder": str(folder), "rounds": found["rounds_planned"]})
        return self._follow(folder, read_overrides(folder / "overrides.yaml"), progress)

    def _follow(self, folder: Path, overrides: Sequence[str], progress: Progress) -> Path:
        """Submits, watches, and submits again with ``resume`` while the run broke down without an end."""
        write_durably(self._home.last_run, f"{folder}\n")
        seen, fruitless, patience = _Rounds(folder, progress), 0, self._home.config().restart_seconds * 4
        while fruitless < FRUITLESS:
            before, done = _stamp(folder), _rounds_done(folder)
            self._wait_for_hub(patience, progress)
            patience = math.inf  # what has begun waits for as long as a machine may be away
            details = self._attempt(folder, overrides, before, seen, progress)
            if _final(folder, before):
                return folder
            fruitless = 0 if _rounds_done(folder) > done else fruitless + 1
            progress({"phase": "interrupted", "reason": details})
        raise FederationError(
            f"The run in {folder} broke down {FRUITLESS} times without another round ({details}); see "
            f"{self._home.logs}, then go on with: oncofed-hub run --resume {folder}"
        )

    def _attempt(self, folder: Path, overrides: Sequence[str], before: float, seen: _Rounds, progress: Progress) -> str:
        """Submits once and watches; returns why it broke off, if it did."""
        begun = read_status(folder) is not None
        try:
            run_id = self._control.submit(self._app(), self._run_config(folder, overrides, resume=begun))
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
                    return details or status
            time.sleep(TICK_SECONDS)

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
        return {"overrides": shlex.join(overrides), "out-dir": "", "resume": ""} | where

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
