"""A hub and three hospitals as processes of their own on this machine, TLS on, with BUS-BRA by scanner."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config import compose
from common.data.manifest import write_manifest
from simulations.emulation import declared, emulated_cohorts

STUDY = (
    *("data=bus_bra", "data.image_size=32", "model.width=4", "privacy.accountant=rdp"),
    *("training.rounds=2", "training.local_epochs=1", "training.batch_patients=10", "training.lr=0.1"),
    *("evaluation.local_epochs=1", "evaluation.bins=256", "evaluation.resamples=50", "evaluation.personal_epochs=0"),
    *("strategy.quorum=2", "strategy.join_timeout=60"),
)
SITES = ("ge_logiq_5", "ge_logiq_7", "toshiba_aplio_300")
OPEN = {
    "ceiling": 1000.0, "delta_max": 0.01, "min_patients": 1, "models": ["small_cnn"], "studies": ["*"],
    "modes": ["local"], "hubs": ["*"], "release_metrics": True,
}  # fmt: skip
READY_SECONDS = 120.0
RUN_SECONDS = 240.0


def emulation(real_data: Path) -> list[str]:
    """The overrides with which the simulator emulates the same three hospitals."""
    return [*STUDY, f"data.root={real_data / 'bus-bra'}", "partition=natural"]


@dataclass
class Deployment:
    """Starts, breaks and stops the processes; every one is known by its pid and ended at the end."""

    folder: Path
    data: Path
    study: tuple[str, ...] = STUDY
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    port: int = 0
    inner_port: int = 0
    monitors: dict[str, int] = field(default_factory=dict)

    def prepare(self) -> Deployment:
        """Makes the hub and the three sites, from kit to approval, as people would."""
        self.port, self.inner_port = free_port(), free_port()
        where = ("--address", f"127.0.0.1:{self.port}", "--port", str(self.port), "--inner-port", str(self.inner_port))
        self.hub("init", *where, *self.study)
        self._watch("hub", "hub.yaml")
        for name, part in emulated_cohorts(compose(emulation(self.data))).items():
            home = self.home(name)
            home.mkdir(parents=True)
            write_manifest(part, home / "manifest.csv")
            train = {record.patient for record in part.records if record.split == "train"}
            self.admit(name)
            self.configure(name, declared(len(train)))
        return self

    def admit(self, name: str, *options: str, code: int = 0) -> None:
        """From invitation to approval, which ends with ``code``."""
        kit = self.hub("invite", name).stdout.strip()
        fingerprint = self.site(name, "join", kit, *options).stdout.strip()
        request = str(self.home(name) / "request.json")
        self._command("server.cli", "hub", ("approve", request, "--fingerprint", fingerprint), code)

    def configure(self, name: str, patients: int) -> None:
        home = self.home(name)
        settings = yaml.safe_load((home / "site.yaml").read_text())
        images = str(self.data / "bus-bra" / "BUSBRA")
        settings["data"] |= {"root": str(home / "manifest.csv"), "images": images}
        settings |= {"declared_patients": patients, "noise_seed_for_tests_only": 0}
        (home / "site.yaml").write_text(yaml.safe_dump(settings))
        self._watch(name, "site.yaml")
        self.policy(name)

    def _watch(self, name: str, file: str) -> None:
        """Opens the page for watchers."""
        path = self.home(name) / file
        self.monitors[name] = free_port()
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"monitor_port": self.monitors[name]}))

    def policy(self, name: str, **changes: Any) -> None:
        (self.home(name) / "policy.yaml").write_text(yaml.safe_dump(OPEN | changes))

    def home(self, name: str) -> Path:
        return self.folder / ("hub" if name == "hub" else f"sites/{name}")

    def hub(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self._command("server.cli", "hub", arguments, code)

    def site(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._command("client.daemon_cli", name, arguments)

    def start(self, name: str, **environment: str) -> None:
        module = "server.cli" if name == "hub" else "client.daemon_cli"
        command = [sys.executable, "-m", module, "start", "--home", str(self.home(name))]
        with (self.folder / f"{name}.out").open("ab") as sink:
            self.processes[name] = subprocess.Popen(
                command, stdout=sink, stderr=sink, cwd=self.folder, env=surroundings(**environment)
            )

    def start_all(self) -> Deployment:
        for name in ("hub", *SITES):
            self.start(name)
        self.until(lambda: self.online() == set(SITES), READY_SECONDS, "all sites online")
        return self

    def run(self, name: str, *arguments: str) -> Run:
        """Starts ``oncofed-hub run`` in the background."""
        folder = self.folder / "runs" / name
        where = ["--out", str(folder)] if "--resume" not in arguments else []
        command = [sys.executable, "-m", "server.cli", "run", *where, *arguments, "--home", str(self.home("hub"))]
        with (self.folder / f"{name}.out").open("ab") as sink:
            process = subprocess.Popen(command, stdout=sink, stderr=sink, cwd=self.folder)
        self.processes[f"run {name}"] = process
        return Run(folder, process)

    def online(self) -> set[str]:
        found = json.loads(self.hub("status", "--json").stdout)
        return {site["name"] for site in found["sites"] if site["connection"] == "online"}

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

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds:g} s: {what}\n{self.tails()}")
            time.sleep(0.1)

    def tails(self) -> str:
        """The ends of all logs, for whoever reads a failure."""
        files = sorted(self.folder.glob("*.out")) + sorted(self.folder.glob("**/logs/*.log"))
        return "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-1500:]}" for path in files)

    def stop_all(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _command(
        self, module: str, name: str, arguments: tuple[str, ...], code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, *arguments, "--home", str(self.home(name))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != code:
            pytest.fail(f"{' '.join(command[2:])} ended with {done.returncode}: {done.stderr}\n{self.tails()}")
        return done


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


def surroundings(**more: str) -> dict[str, str]:
    """Returns this process's environment and more; a PYTHONPATH among it comes before the one that is there."""
    paths = [path for path in (more.get("PYTHONPATH"), os.environ.get("PYTHONPATH")) if path]
    return os.environ | more | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="package")
def deployment(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Iterator[Deployment]:
    """All up and connected; a scenario leaves it so."""
    folder = tmp_path_factory.mktemp("deployment")
    made = Deployment(folder, real_data)
    try:
        yield made.prepare().start_all()
    finally:
        made.stop_all()
        shutil.rmtree(folder, ignore_errors=True)
