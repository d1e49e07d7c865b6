"""``oncofed-hub run``: submits the study, follows it, and goes on from its last checkpoint whatever died meanwhile."""

from __future__ import annotations

import contextlib
import math
import shlex
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from common.config.overrides import read_overrides
from common.config.study import compose
from common.errors import ConfigError, FederationError, NetworkError
from common.runs.run_folder import RunFolder
from common.services.supervisor import is_held, only_one
from common.trust.durable import write_durably
from server.hub.control import Control
from server.hub.followed import FINAL, Progress, Rounds, final, read_status, rounds_done, stamp
from server.hub.holder import conducted
from server.hub.home import HubHome
from server.hub.interrupted import end_aggregator, last_folder, settle
from server.hub.processes import aggregator_lives
from server.hub.tickets import Tickets

TICK_SECONDS = 0.5
ASK_SECONDS = 10.0
"""Between two calls of ``flwr ls``, each of which takes a second of a core; the run's folder says the rest."""
FRUITLESS = 3
"""So many attempts without a new round, and the run is given up."""
UNSURE = (NetworkError, KeyError, ValueError)
"""What a hub answers of a run while it dies or comes back."""

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
        self._tickets = Tickets.of(home.path)
        self._folder: Path | None = None

    @property
    def underway(self) -> Path | None:
        """The folder of the run that this command follows or followed, if it goes on without the command."""
        folder = self._folder
        return folder if folder is not None and self._goes_on(folder) else None

    def start(self, overrides: Sequence[str], out: Path | None, progress: Progress, *, rehearsal: bool = False) -> Path:
        """Returns the folder of a new run of the study that ``overrides`` compose, once it has ended.

        A ``rehearsal`` is one round with synthetic patients at every site, which costs no privacy.

        Raises:
            ConfigError: The study or the folder cannot be used.
            NetworkError: The hub is not there.
            FederationError: The run kept breaking down.
        """
        study = compose(overrides)
        if study.tuning_problem:
            raise ConfigError(f"{study.name}: {study.tuning_problem}")
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
        runs = last_folder(self._home) == folder and self._goes_on(folder)
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
        awaited = self._tickets.void()  # after the word is written, so that nobody issues another
        self._cancel(self._flower_run())
        ended = self._end_own_aggregator(newest)
        settled = settle(self._home, "its operator stopped it")
        if not (settled or ended or awaited or is_held(self._home.run_lock)):
            raise ConfigError(f"The run in {newest} does not run; oncofed-hub status says how it ended")
        return newest

    def _end_own_aggregator(self, folder: Path) -> bool:
        """Ends the aggregator, unless it conducts another run; returns whether it did."""
        return conducted(self._home.path) in (None, folder) and end_aggregator(self._home)

    def _cancel(self, run_id: int) -> None:
        """Tells Flower, if it is there, to stop its run of that number; 0: there is none."""
        with contextlib.suppress(*UNSURE):
            if run_id and self._control.alive():
                self._control.stop_run(run_id)

    def _goes_on(self, folder: Path) -> bool:
        """Tells whether the run is conducted now, or will be."""
        return folder in self._tickets.awaited() or conducted(self._home.path) == folder

    def _check_free(self) -> None:
        """Raises ConfigError while another run goes on: two would ask the same hospitals at once.

        One that broke off unseen says INTERRUPTED from then on, since it will not be the newest much longer.
        """
        if self._is_conducted() or is_held(self._home.run_lock) or self._tickets.awaited():
            raise ConfigError(
                f"The run in {last_folder(self._home)} goes on; wait for it (oncofed-hub status), follow it "
                "(oncofed-hub run --resume), or end it (oncofed-hub stop)"
            )
        settle(self._home)

    def _is_conducted(self) -> bool:
        """Tells whether an aggregator works on a run; one whose run has ended is about to end, and is waited for."""
        folder = conducted(self._home.path)
        ended = folder is not None and (read_status(folder) or {}).get("status") in FINAL
        return aggregator_lives(self._home.path) and not ended

    def _follow(
        self, folder: Path, overrides: Sequence[str], progress: Progress, *, runs: bool = False, rehearsal: bool = False
    ) -> Path:
        """Submits, watches, and submits again with ``resume`` while the run broke down without an end.

        What ``runs`` already is watched first.
        """
        with only_one(self._home.run_lock):
            self._home.stop_asked.unlink(missing_ok=True)  # before anybody can stop this run
            write_durably(self._home.last_run, f"{folder}\n")
            self._rehearsal, self._folder = rehearsal, folder
            return self._to_its_end(folder, overrides, progress, runs)

    def _to_its_end(self, folder: Path, overrides: Sequence[str], progress: Progress, runs: bool) -> Path:
        seen, fruitless, patience = Rounds(folder, progress), 0, self._home.config().restart_seconds * 4
        while fruitless < FRUITLESS:
            before, done = stamp(folder), rounds_done(folder)
            self._wait_for_hub(folder, patience, progress)
            patience = math.inf  # what has begun waits for as long as a machine may be away
            details = self._attempt(folder, overrides, before, seen, progress, runs)
            self._tickets.void(folder)
            runs = False
            if final(folder, before):
                return folder
            self._check_stopped(folder)
            fruitless = 0 if rounds_done(folder) > done else fruitless + 1
            progress({"phase": "interrupted", "reason": details})
        raise FederationError(
            f"The run in {folder} broke down {FRUITLESS} times without another round ({details}); see "
            f"{self._home.logs}, then go on with: oncofed-hub run --resume {folder}"
        )

    def _stop_asked(self, folder: Path) -> bool:
        try:
            return self._home.stop_asked.read_text(encoding="utf-8").strip() == str(folder)
        except FileNotFoundError:
            return False

    def _check_stopped(self, folder: Path) -> None:
        if self._stop_asked(folder):
            settle(self._home, "its operator stopped it")
            raise FederationError(f"The run was stopped; go on with: oncofed-hub run --resume {folder}")

    def _attempt(
        self, folder: Path, overrides: Sequence[str], before: float, seen: Rounds, progress: Progress, runs: bool
    ) -> str:
        """Submits once, unless it runs already, and watches; returns why it broke off, if it did."""
        begun = read_status(folder) is not None
        if runs:
            return self._watch(folder, self._flower_run(), before, seen, progress)
        try:
            run_id = self._submit(folder, overrides, resume=begun)
        except NetworkError as error:
            if not begun:
                raise
            time.sleep(ASK_SECONDS)
            return str(error)
        return self._watch(folder, run_id, before, seen, progress)

    def _submit(self, folder: Path, overrides: Sequence[str], *, resume: bool) -> int:
        """Returns Flower's number of the run. What of a submission that failed or was cut reached Flower never starts.

        Raises:
            NetworkError: Flower refuses it.
            FederationError: Somebody stopped the run meanwhile.
        """
        try:
            config = self._run_config(folder, overrides, resume=resume)
            self._check_stopped(folder)  # after the ticket is issued: whoever stops the run later makes it void
            run_id = self._control.submit(self._app(), config)
            write_durably(self._home.flower_run, str(run_id))
        except BaseException:
            self._tickets.void(folder)
            raise
        return run_id

    def _watch(self, folder: Path, run_id: int, before: float, seen: Rounds, progress: Progress) -> str:
        asked, lived = time.monotonic(), False
        while True:
            seen()
            lives = conducted(self._home.path) == folder
            if not lives and final(folder, before):  # it has written its last file
                return ""
            if not lives and self._stop_asked(folder):
                self._cancel(run_id)
                return "it was stopped"
            if lived and not lives:
                return self._stop(folder, run_id, progress)
            lived = lived or lives
            if time.monotonic() - asked > ASK_SECONDS:
                asked = time.monotonic()
                try:
                    status, details = self._control.run_status(run_id)
                except UNSURE:
                    status, details = "unknown", ""
                if status.startswith("finished:"):
                    seen()
                    if not final(folder, before):
                        self._end_own_aggregator(folder)  # whose signs of life were lost, while it goes on
                    return details or status
            time.sleep(TICK_SECONDS)

    def _flower_run(self) -> int:
        try:
            return int(self._home.flower_run.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def _stop(self, folder: Path, run_id: int, progress: Progress) -> str:
        """Tells Flower, which would wait for another minute, that the aggregator died; returns why if it knows."""
        self._wait_for_hub(folder, math.inf, progress)
        with contextlib.suppress(*UNSURE):
            status, details = self._control.run_status(run_id)
            if status.startswith("finished:"):
                return details
            self._control.stop_run(run_id)
        return "the aggregator died"

    def _wait_for_hub(self, folder: Path, seconds: float, progress: Progress) -> None:
        if self._control.alive():
            return
        progress({"phase": "waiting", "reason": "the hub does not answer; the run goes on once it does"})
        deadline = time.monotonic() + seconds
        while not self._control.alive():
            self._check_stopped(folder)
            if time.monotonic() > deadline:
                raise NetworkError("The hub does not answer; start it with: oncofed-hub start")
            time.sleep(TICK_SECONDS)

    def _run_config(self, folder: Path, overrides: Sequence[str], *, resume: bool) -> dict[str, str]:
        where = {"resume": str(folder)} if resume else {"out-dir": str(folder)}
        ticket = self._tickets.issue(folder)
        return {"overrides": shlex.join(overrides), "out-dir": "", "resume": "", "ticket": ticket,
                "rehearsal": "true" if self._rehearsal else ""} | where  # fmt: skip

    def _app(self) -> Path:
        """Returns a Flower app without a line of code: hub and sites run what is installed on them."""
        folder = self._home.flower / "app" / "oncofed"
        folder.mkdir(parents=True, exist_ok=True)
        text = _PYPROJECT.format(version=metadata.version("oncofed"))
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        return folder
