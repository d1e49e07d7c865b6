"""A hub and emulated hospitals as processes of their own on this machine, over TLS: what a real study runs, next door.

Every step is one that a person takes on the command line, from ``oncofed-hub init`` to ``oncofed-hub run``.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import NetworkError

OPEN = {
    "ceiling": 1000.0, "delta_max": 0.01, "min_patients": 1, "models": ["*"], "studies": ["*"],
    "modes": ["local", "distributed", "none"], "hubs": ["*"], "release_metrics": True, "own_models": "full",
    "subgroups": ["*"], "runs_per_study": None, "after_unbounded": "allow",
    "min_split": 1, "min_group": 1,
}  # fmt: skip
COMMAND_SECONDS = 120.0
_MODULES = {"hub": "server.cli.main", "site": "client.cli.daemon"}


@dataclass
class LocalDeployment:
    """Starts and stops the processes; every one is known by its pid and ended at the end.

    Attributes:
        folder: Where all homes are: ``hub`` and ``sites/NAME``.
        study: Hydra overrides of the hub's study.
        host: Address of the hub.
        port: Where the proxy listens.
        dialled: Port that the sites dial, where something stands between them and the proxy; 0: the proxy's.
    """

    folder: Path
    study: tuple[str, ...]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    inner_port: int = 0
    dialled: int = 0

    def init(self) -> None:
        """Makes the hub."""
        self.port, self.inner_port = self.port or free_port(), free_port()
        address = f"{self.host}:{self.dialled or self.port}"
        ports = ("--port", str(self.port), "--inner-port", str(self.inner_port))
        self.hub("init", "--address", address, "--bind", self.host, *ports, *self.study)

    def admit(self, name: str, *options: str, code: int = 0) -> None:
        """From invitation to approval, which ends with ``code``."""
        kit = self.hub("invite", name).stdout.strip()
        fingerprint = self.site(name, "join", kit, *options).stdout.strip()
        request = str(self.home(name) / "request.json")
        self.hub("approve", request, "--fingerprint", fingerprint, code=code)

    def settings(self, name: str, **changes: Any) -> None:
        """Changes ``hub.yaml`` or a site's ``site.yaml``."""
        import yaml

        path = self.home(name) / ("hub.yaml" if name == "hub" else "site.yaml")
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))

    def policy(self, name: str, **changes: Any) -> None:
        """Writes a site's policy: open but for ``changes``."""
        import yaml

        (self.home(name) / "policy.yaml").write_text(yaml.safe_dump(OPEN | changes))

    def home(self, name: str) -> Path:
        """Returns the folder of the hub or of a site."""
        return self.folder / ("hub" if name == "hub" else f"sites/{name}")

    def hub(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs ``oncofed-hub``, which must end with ``code``."""
        return self._command("hub", arguments, code)

    def site(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs ``oncofed-site`` for a site."""
        return self._command(name, arguments, 0)

    def start(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Starts a daemon in the background."""
        command = [sys.executable, "-m", _module(name), "start", "--home", str(self.home(name))]
        self._spawn(name, command, self.folder / f"{name}.out", environment)

    def start_supernode(self, name: str) -> None:
        """Starts a site's SuperNode alone: all that the hub sees of a site at which nothing runs."""
        from client.site.site_file import SiteHome

        home = SiteHome(self.home(name))
        secret = home.path / "superexec.secret"
        secret.write_bytes(os.urandom(32))
        arguments = [
            *("--superlink", f"127.0.0.1:{self.dialled or self.port}", "--root-certificates", str(home.ca)),
            *("--client-certificate", str(home.tls), "--client-key", str(home.tls_key)),
            *("--auth-supernode-private-key", str(home.node_key), "--isolation", "process"),
            *("--superexec-auth-secret-file", str(secret), "--host", "127.0.0.1", "--port", str(free_port())),
        ]
        self._spawn(name, [sys.executable, "-m", "client.node.supernode", *arguments], self.folder / f"{name}.out")

    def run(self, name: str, *arguments: str) -> Path:
        """Starts ``oncofed-hub run`` in the background as the process ``run NAME``; returns the run's folder."""
        folder = self.folder / "runs" / name
        where = ["--out", str(folder)] if "--resume" not in arguments else []
        command = [sys.executable, "-m", _MODULES["hub"], "run", *where, *arguments, "--home", str(self.home("hub"))]
        self._spawn(f"run {name}", command, self.folder / f"{name}.out")
        return folder

    def online(self) -> set[str]:
        """Returns the names of the sites that the hub sees."""
        found = json.loads(self.hub("status", "--json").stdout)["data"]
        return {site["name"] for site in found["sites"] if site["connection"] == "online"}

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Waits for a condition.

        Raises:
            NetworkError: It did not come in time; the ends of all logs are in the message.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise NetworkError(f"not within {seconds:g} s: {what}\n{self.tails()}")
            time.sleep(0.1)

    def tails(self) -> str:
        """Returns the ends of all logs, for whoever reads a failure."""
        files = sorted(self.folder.glob("*.out")) + sorted(self.folder.glob("**/logs/*.log"))
        return "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-1500:]}" for path in files)

    def stop_all(self) -> None:
        """Ends every process, and waits for it."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
                continue
            process.kill()
            process.wait()

    def on_host(self, name: str, command: list[str]) -> list[str]:
        """Returns the command as the machine of the hub or of a site runs it; here all are this one."""
        return command

    def _spawn(self, name: str, command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        around, command = surroundings(environment or {}), self.on_host(name, command)
        with log.open("ab") as sink:
            self.processes[name] = subprocess.Popen(command, stdout=sink, stderr=sink, cwd=self.folder, env=around)

    def _command(self, name: str, arguments: tuple[str, ...], code: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", _module(name), *arguments, "--home", str(self.home(name))]
        done = subprocess.run(
            self.on_host(name, command), capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
        if done.returncode != code:
            said = f"{' '.join(command[2:])} ended with {done.returncode}, expected {code}"
            raise NetworkError(f"{said}: {done.stderr}\n{self.tails()}")
        return done


def surroundings(more: Mapping[str, str]) -> dict[str, str]:
    """Returns this process's environment and more; a PYTHONPATH among it comes before the one that is there."""
    paths = [path for path in (more.get("PYTHONPATH"), os.environ.get("PYTHONPATH")) if path]
    return {**os.environ, **more, **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})}


def free_port() -> int:
    """Returns a TCP port that nobody on this machine listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _module(name: str) -> str:
    return _MODULES["hub" if name == "hub" else "site"]
