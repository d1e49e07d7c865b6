"""``oncofed-hub start``: keeps the SuperLink, the SuperExec and the proxy alive until it is told to stop.

The SuperLink holds Flower's state in a database, so after a crash it goes on where it was; the aggregator, a child
of the SuperExec, waits for it. When the daemon itself dies, the kernel ends everything below it, and a run goes on
from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from common.errors import ConfigError, OncoFedError
from common.services.environment import flower_environment
from common.services.monitor import Monitor
from common.services.notify import Notifier, credential
from common.services.supervisor import Backoff, Child, Stop, is_held, only_one
from common.trust.durable import write_durably
from server.hub.control import Control
from server.hub.home import HubHome, check_certificates
from server.hub.interrupted import settle
from server.hub.metrics import Connections, hub_page
from server.hub.processes import PATIENCE_VARIABLE, SECRET_VARIABLE, write_launcher
from server.hub.proxy import nginx, proxy_files
from server.hub.signing_key import public_key
from server.hub.tickets import Tickets

log = logging.getLogger("oncofed.hub")
TICK_SECONDS = 0.2
SETTLE_SECONDS = 5.0
_NEVER = (-1, -1, -1)


class HubDaemon:
    """The hub's processes."""

    def __init__(self, home: HubHome) -> None:
        self._home, self._config = home, home.config()
        self._service = Notifier()
        self._control = Control(home, pulse=self._pulse)
        self._children = [self._superlink(), self._superexec(), *([self._proxy()] if self._config.proxy else [])]
        self._followed = self._listed = _NEVER
        self._ready, self._complaint, self._settled = False, "", 0.0
        self._stale = submitted(home)

    def run(self) -> None:
        """Returns after SIGTERM or SIGINT, once every process has ended.

        Raises:
            ConfigError: Another daemon runs in this home, or a certificate, key or secret in it cannot be used.
        """
        with only_one(self._home.lock), self._monitored():
            stop = Stop()
            check_certificates(self._home, self._config)
            public_key(self._home)  # a hub from before signed requests has none yet
            if self._config.proxy:
                proxy_files(self._home)  # which raises; once the hub runs, what is wrong is only complained of
            self._renew_proxy()
            Tickets.of(self._home.path).void()
            write_launcher(self._home.flower / "bin", self._home.logs / "aggregator.log")
            try:
                while not stop.asked:
                    self._tend()
                    if self._ready:
                        self._service.ready()
                    self._service.alive("ready" if self._ready else "starting")
                    time.sleep(TICK_SECONDS)
            finally:
                self._service.stopping()
                for child in reversed(self._children):
                    child.stop()
                self._write_state("stopped")

    @contextlib.contextmanager
    def _monitored(self) -> Iterator[None]:
        """Keeps the page for watchers up, and what it needs, where a port is set."""
        port = self._config.monitor_port
        if port is None:
            yield
            return
        with Connections(self._home) as seen, Monitor(port, lambda: hub_page(self._home, seen)):
            yield

    def _renew_proxy(self, *, revoked_only: bool = False) -> None:
        """Has nginx read its files again once the registry changed what they say, which ends its connections."""
        stamp = _stamp(self._home.sites_file)
        if not self._config.proxy or stamp == self._listed:
            return
        try:
            files = proxy_files(self._home)
            if revoked_only and not files.take_away(self._home.proxy):
                return
            changed = files.write(self._home.proxy)
        except ConfigError as error:
            self._complain(f"nginx keeps its list of sites: {error}")
            return
        self._listed, self._complaint = stamp, ""
        if changed:
            self._children[-1].restart()

    def _complain(self, text: str) -> None:
        """Logs it once, though it is tried again at every turn."""
        if text != self._complaint:
            log.warning(text)
        self._complaint = text

    def _pulse(self) -> None:
        """Does what cannot wait while one of Flower's commands runs, which takes seconds.

        An approval can wait: nginx would cut the command's connection, and Flower registers no key a second time.
        """
        self._service.alive()
        self._renew_proxy(revoked_only=True)
        if self._config.proxy:
            self._children[-1].tend()

    def _tend(self) -> None:
        self._renew_proxy()
        self._settle()
        changed = [child.tend() for child in self._children]
        if any(changed):
            self._ready = False
            for child in self._children:
                if child.process is None:
                    log.warning("%s ended (%s); it starts again", child.name, child.last_exit)
            self._write_state("starting")
        if not self._ready and self._children[0].process is not None and self._control.alive():
            self._ready, self._followed = True, _NEVER
            log.info("The hub is ready on %s", self._config.front)
        if self._ready and self._stale:
            self._end_stale()
        if self._ready and _stamp(self._home.sites_file) != self._followed:
            self._follow_registry()
            self._write_state("ready")

    def _settle(self) -> None:
        """Writes down, now and then, that a run's aggregator is gone, unless a command follows the run."""
        if time.monotonic() < self._settled + SETTLE_SECONDS or is_held(self._home.run_lock):
            return
        self._settled = time.monotonic()
        if folder := settle(self._home):
            log.warning("The run in %s is interrupted", folder)
            self._stale = submitted(self._home)

    def _end_stale(self) -> None:
        """Has Flower end a run whose aggregator is gone: sites would wait for the rest of its messages for ever."""
        try:
            status, _ = self._control.run_status(self._stale)
            if not status.startswith("finished"):
                self._control.stop_run(self._stale)
                log.info("A run without an aggregator is stopped in Flower")
        except (OncoFedError, KeyError, ValueError) as error:
            log.warning("The run of before may still be open in Flower: %s", error)
        self._stale = 0

    def _follow_registry(self) -> None:
        stamp = _stamp(self._home.sites_file)  # of before: what changes meanwhile is for the next turn
        try:
            self._control.follow_registry()
        except OncoFedError as error:
            log.warning("The SuperLink's list of sites is not current yet: %s", error)
            stamp = _NEVER
        self._followed = stamp

    def _superlink(self) -> Child:
        config, home = self._config, self._home
        host, _, port = config.local.rpartition(":") if config.proxy else (config.bind, "", str(config.port))
        arguments = [
            *("--host", host),
            *("--port", port),
            *("--ssl-certfile", str(home.server)),
            *("--ssl-keyfile", credential("server.key") or str(home.server_key)),
            *("--ssl-ca-certfile", str(home.ca)),
            *("--isolation", "process"),
            *("--superexec-auth-secret-file", str(home.secret)),
            *("--database", str(home.flower / "state.db")),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        ]
        own = {PATIENCE_VARIABLE: str(config.patience_seconds)}
        own |= {SECRET_VARIABLE: str(home.proxy_secret)} if config.proxy else {}
        return self._child("superlink", arguments, flower_environment(home.flower, **own))

    def _superexec(self) -> Child:
        config, home = self._config, self._home
        arguments = [
            *("--runtime-api-address", config.local),
            *("--root-certificates", str(home.ca)),
            *("--superexec-auth-secret-file", str(home.secret)),
        ]
        environment = flower_environment(
            home.flower,
            ONCOFED_HUB_SITES=str(home.sites_file),
            ONCOFED_RUNS=str(home.runs),
            ONCOFED_CHECKPOINT_KEY=str(home.checkpoint_key),
            ONCOFED_HUB_KEY=str(home.signing_key),
        )  # read by the aggregator
        environment["PATH"] = os.pathsep.join([str(home.flower / "bin"), environment["PATH"]])
        return self._child("superexec", arguments, environment)

    def _proxy(self) -> Child:
        nginx()  # now, while there is somebody to read that it is missing
        arguments = ["-e", "stderr", "-p", str(self._home.proxy), "-c", str(self._home.proxy / "nginx.conf")]
        return self._child("proxy", arguments, flower_environment(self._home.flower))

    def _child(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> Child:
        return Child(
            name=name,
            command=[sys.executable, "-m", "server.hub.processes", name, *arguments],
            environment=environment,
            folder=self._home.flower,
            log=self._home.logs / f"{name}.log",
            backoff=Backoff(longest=self._config.restart_seconds),
        )

    def _write_state(self, status: str) -> None:
        document = {
            "schema_version": 1,
            "status": status,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "pid": os.getpid(),
            "processes": {
                child.name: {"pid": child.pid, "lives": child.lives, "last_exit": child.last_exit}
                for child in self._children
            },
        }
        write_durably(self._home.state_file, json.dumps(document, indent=2) + "\n")


def submitted(home: HubHome) -> int:
    """Returns Flower's number of the run that was submitted last; 0 where there is none."""
    try:
        return int(home.flower_run.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _stamp(path: Path) -> tuple[int, int, int]:
    """Returns what differs once the file was replaced, by whatever clock."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0, 0)
    return found.st_mtime_ns, found.st_ino, found.st_size
