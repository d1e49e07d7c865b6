"""A hub and three hospitals as processes of their own on this machine, TLS on, with BUS-BRA by scanner."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from common.config.study import compose
from common.data.manifest import write_manifest
from server.hub.home import HubHome
from simulations.engine.deployment import LocalDeployment, free_port
from simulations.engine.emulation import declared, emulated_cohorts

STUDY = (
    *("data=bus_bra", "data.image_size=32", "model.width=4", "privacy.accountant=rdp"),
    *("training.rounds=2", "training.local_epochs=1", "training.batch_patients=10", "training.lr=0.1"),
    *("evaluation.local_epochs=1", "evaluation.bins=256", "evaluation.resamples=50", "evaluation.personal_epochs=0"),
    *("strategy.quorum=2", "strategy.join_timeout=60"),
)
SITES = ("ge_logiq_5", "ge_logiq_7", "toshiba_aplio_300")
READY_SECONDS = 120.0
RUN_SECONDS = 240.0


def emulation(real_data: Path) -> list[str]:
    """The overrides with which the simulator emulates the same three hospitals."""
    return [*STUDY, f"data.root={real_data / 'bus-bra'}", "partition=natural"]


@dataclass
class Deployment(LocalDeployment):
    """A hub and the three sites, with what it takes to break them."""

    data: Path = Path()
    monitors: dict[str, int] = field(default_factory=dict)

    def prepare(self) -> Deployment:
        """Makes the hub and the three sites, from kit to approval, as people would."""
        self.init()
        self._watch("hub")
        for name, part in emulated_cohorts(compose(emulation(self.data))).items():
            home = self.home(name)
            home.mkdir(parents=True)
            write_manifest(part, home / "manifest.csv")
            train = {record.patient for record in part.records if record.split == "train"}
            self.admit(name, "--declared-patients", str(declared(len(train))))
            self.configure(name, declared(len(train)))
        return self

    def configure(self, name: str, patients: int) -> None:
        images = {"root": str(self.home(name) / "manifest.csv"), "images": str(self.data / "bus-bra" / "BUSBRA")}
        self.settings(name, data=images, declared_patients=patients, noise_seed_for_tests_only=0)
        self._watch(name)
        self.policy(name)

    def _watch(self, name: str) -> None:
        """Opens the page for watchers."""
        self.monitors[name] = free_port()
        self.settings(name, monitor_port=self.monitors[name])

    def start_all(self) -> Deployment:
        for name in ("hub", *SITES):
            self.start(name)
        self.until(lambda: self.online() == set(SITES), READY_SECONDS, "all sites online")
        return self

    def begin(self, name: str, *arguments: str) -> Run:
        """Starts ``oncofed-hub run`` in the background; each new one of a study of its own."""
        folder = self.run(name, *([] if "--resume" in arguments else [self._study_of(name)]), *arguments)
        return Run(folder, self.processes[f"run {name}"])

    def _study_of(self, name: str) -> str:
        """Returns the file of the hub's study under the run's name, unless it has one of its own."""
        overrides = HubHome(self.home("hub")).config().overrides
        named = any(override.startswith("name=") for override in overrides)
        path = self.folder / f"{name}.study.yaml"
        path.write_text(json.dumps([*overrides, *([] if named else [f"name={name}"])]))
        return str(path)

    def state(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.home(name) / "state.json").read_text()))
        except FileNotFoundError:
            return {"status": "", "processes": {}}

    def pid(self, name: str, process: str) -> int:
        self.until(lambda: bool(self.state(name)["processes"].get(process, {}).get("pid")), 60, f"{process} of {name}")
        return int(self.state(name)["processes"][process]["pid"])

    def kill(self, name: str, process: str = "") -> None:
        """Ends with kill -9 a daemon, or of one of its processes."""
        if process:
            os.kill(self.pid(name, process), signal.SIGKILL)
        else:
            self.processes[name].kill()
            self.processes[name].wait()

    def charges(self, name: str) -> int:
        """How many rounds the site's ledger has paid for."""
        path = self.home(name) / "ledger.sqlite"
        if not path.exists():
            return 0
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as ledger:
            try:
                return int(ledger.execute("SELECT COUNT(*) FROM rows WHERE body LIKE '%\"run\"%'").fetchone()[0])
            except sqlite3.OperationalError:
                return 0


@dataclass
class Run:
    """One ``oncofed-hub run``."""

    folder: Path
    process: subprocess.Popen[bytes]

    def wait(self, deployment: Deployment, seconds: float = RUN_SECONDS) -> dict[str, Any]:
        """Returns ``run.json`` once the command has ended."""
        self.wait_for_end(deployment, seconds)
        return self.read("run.json")

    def wait_for_end(self, deployment: Deployment, seconds: float = RUN_SECONDS) -> None:
        deployment.until(lambda: self.process.poll() is not None, seconds, f"the end of {self.folder.name}")

    def read(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.folder / name).read_text()))

    def rounds(self) -> list[dict[str, Any]]:
        path = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# A background job of a shell inherits that SIGINT is ignored, and so would the commands that a person stops by Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="package")
def deployment(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Iterator[Deployment]:
    """All up and connected; a scenario leaves it so."""
    folder = tmp_path_factory.mktemp("deployment")
    made = Deployment(folder, STUDY, data=real_data)
    try:
        yield made.prepare().start_all()
    finally:
        made.stop_all()
        shutil.rmtree(folder, ignore_errors=True)
