"""``oncofed-site start``: keeps the SuperNode and the worker alive until it is told to stop.

The SuperNode dials the hub, never the other way round, and gives up at once on any trouble; it is started again for
ever, with growing pauses. When the worker dies, the SuperNode takes leave of the hub, which so learns at once that
no answer will come, and connects anew. When the daemon itself dies, the kernel ends everything below it.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import time
from datetime import UTC, datetime

from client.node.metrics import site_page
from client.site.pause import check_not_left
from client.site.site_file import HOME_VARIABLE, SiteFile, SiteHome
from common.services.environment import flower_environment
from common.services.monitor import Monitor
from common.services.notify import Notifier, credential
from common.services.supervisor import Backoff, Child, Stop, only_one
from common.training.device import check_in_another_process
from common.trust.durable import write_durably
from common.trust.pki import write_private

log = logging.getLogger("oncofed.site")
TICK_SECONDS = 0.2
LONGEST_PAUSE = 30.0


class SiteDaemon:
    """The site's processes."""

    def __init__(self, home: SiteHome) -> None:
        self._home, self._settings = home, home.read()
        self._port = _free_port()
        self._secret = home.path / "flower" / "worker.secret"
        self._children = [self._supernode(self._settings), self._worker(self._settings)]
        self._written = ""

    def run(self) -> None:
        """Returns after SIGTERM or SIGINT, once every process has ended.

        Raises:
            ConfigError: Another daemon runs in this home, or the site has left.
            DeviceError: ``site.yaml`` names a CUDA device that is not there.
        """
        check_not_left(self._home)
        check_in_another_process(self._settings.device)
        monitor = Monitor(self._settings.monitor_port, lambda: site_page(self._home))
        with only_one(self._home.path / "site.lock"), monitor:
            stop, service = Stop(), Notifier()
            self._secret.parent.mkdir(exist_ok=True, mode=0o700)
            write_private(self._secret, secrets.token_bytes(32))
            try:
                while not stop.asked and not self._home.left.exists():
                    self._tend()
                    service.ready()
                    service.alive(self._status())
                    time.sleep(TICK_SECONDS)
            finally:
                service.stopping()
                self._stop_children()
                self._write_state("stopped")

    def _tend(self) -> None:
        for child in self._children:
            if child.tend() and child.process is None:
                log.warning(
                    "%s ended (exit %s); it starts again. If that goes on: oncofed-site doctor",
                    child.name,
                    child.last_exit,
                )
                if child.name == "worker":
                    self._children[0].restart()
        self._write_state(self._status())

    def _status(self) -> str:
        if self._home.paused.exists():
            return "paused"
        return "running" if all(child.process is not None for child in self._children) else "reconnecting"

    def _stop_children(self) -> None:
        for child in reversed(self._children):
            child.stop()

    def _supernode(self, settings: SiteFile) -> Child:
        home = self._home
        arguments = [
            *("--superlink", settings.hub),
            *("--root-certificates", str(home.ca)),
            *("--client-certificate", str(home.tls)),
            *("--client-key", credential("tls.key") or str(home.tls_key)),
            *("--auth-supernode-private-key", credential("node") or str(home.node_key)),
            *("--isolation", "process"),
            *("--superexec-auth-secret-file", str(self._secret)),
            *("--host", "127.0.0.1"),
            *("--port", str(self._port)),
        ]
        return self._child("supernode", arguments)

    def _worker(self, settings: SiteFile) -> Child:
        arguments = [
            *("--address", f"127.0.0.1:{self._port}"),
            *("--secret", str(self._secret)),
            *("--deadline", str(settings.job_seconds)),
        ]
        return self._child("worker", arguments)

    def _child(self, name: str, arguments: list[str]) -> Child:
        own = {HOME_VARIABLE: str(self._home.path), "OMP_NUM_THREADS": str(self._settings.threads)}
        return Child(
            name=name,
            command=[sys.executable, "-m", f"client.node.{name}", *arguments],
            environment=flower_environment(self._home.path / "flower", **own),
            folder=self._home.path,
            log=self._home.logs / f"{name}.log",
            backoff=Backoff(longest=LONGEST_PAUSE),
        )

    def _write_state(self, status: str) -> None:
        processes = {
            child.name: {"pid": child.pid, "lives": child.lives, "last_exit": child.last_exit}
            for child in self._children
        }
        body = {"schema_version": 1, "status": status, "pid": os.getpid(), "processes": processes}
        text = json.dumps(body)
        if text != self._written:
            self._written = text
            since = datetime.now(UTC).isoformat(timespec="seconds")
            write_durably(self._home.state_file, json.dumps(body | {"since": since}, indent=2) + "\n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
