"""A page for a watcher on this machine: ``/health`` as JSON and ``/metrics`` in Prometheus' text format.

It listens on 127.0.0.1 only and answers only whoever asks for that name, so that a web page opened on this machine
cannot read it through a name of its own.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, NamedTuple

from common.errors import ConfigError

log = logging.getLogger("oncofed.monitor")
HOST = "127.0.0.1"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
_NAMES = frozenset({HOST, "localhost"})
_METRIC = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure, or one for each value of a label.

    Attributes:
        kind: A ``counter`` never falls but at a restart; its name ends in ``_total``.
        label: Name of the label; empty for a single value.
        values: Value of the label -> the figure; the key of a single value is empty. None is left out.
    """

    name: str
    help: str
    values: Mapping[str, float | None]
    kind: Literal["gauge", "counter"] = "gauge"
    label: str = ""

    def __post_init__(self) -> None:
        if not _METRIC.fullmatch(self.name) or (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"Expected a name in lower case, ending in _total for a counter alone, got {self.name}")
        if not self.label and set(self.values) - {""}:
            raise ValueError(f"{self.name} has values for {sorted(self.values)}, but no label")

    def text(self) -> str:
        """Returns the metric in the text format, nothing when it has no value."""
        found = [(key, value) for key, value in self.values.items() if value is not None]
        lines = [f"{self.name}{self._labels(key)} {_number(value)}" for key, value in found]
        head = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} {self.kind}"]
        return "\n".join([*head, *lines]) + "\n" if lines else ""

    def _labels(self, key: str) -> str:
        escaped = key.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{{{self.label}="{escaped}"}}' if self.label else ""


class Page(NamedTuple):
    """What a watcher is told.

    Attributes:
        healthy: Whether the daemon does what it is for; decides between 200 and 503.
        facts: JSON values, without a path and without anything of a patient.
    """

    healthy: bool
    facts: Mapping[str, Any]
    metrics: Sequence[Metric]


def gauge(name: str, text: str, value: float | None) -> Metric:
    """Returns a metric of one value."""
    return Metric(name=name, help=text, values={"": value})


def one_of(name: str, text: str, label: str, found: str, choices: Sequence[str]) -> Metric:
    """Returns 1 for what was found and 0 for the other choices."""
    values: dict[str, float | None] = {choice: 0.0 for choice in choices}
    return Metric(name=name, help=text, label=label, values=values | {found: 1.0})


def process_metrics(prefix: str, processes: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """Returns which children run and how often each was started again, from a daemon's state."""
    up = {name: float(bool(process["pid"])) for name, process in processes.items()}
    again = {name: float(max(0, process["lives"] - 1)) for name, process in processes.items()}
    return [
        Metric(name=f"{prefix}_process_up", help="Whether the process runs.", values=up, label="process"),
        Metric(
            name=f"{prefix}_process_restarts_total", help="Restarts since the daemon began.", kind="counter",
            values=again, label="process",
        ),
    ]  # fmt: skip


@dataclass(slots=True)
class Monitor:
    """Serves the page from a thread while it is entered; does nothing without a port.

    Raises:
        ConfigError: On entering, the port is taken.
    """

    port: int | None
    page: Callable[[], Page]
    _server: ThreadingHTTPServer | None = field(default=None, init=False)

    def __enter__(self) -> Monitor:
        if self.port is not None:
            try:
                self._server = _Server((HOST, self.port), _handler(self.page))
            except OSError as error:
                raise ConfigError(
                    f"monitor_port {self.port} cannot be used ({error.strerror}); choose another, or null for none"
                ) from None
            serve = functools.partial(self._server.serve_forever, poll_interval=0.1)
            threading.Thread(target=serve, name="monitor", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        if self._server is None:
            raise ConfigError("The monitor has no port")
        return HOST, self._server.server_port


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("A watcher went away", exc_info=True)


def _handler(page: Callable[[], Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version, timeout = "OncoFed", "", 10.0

        def do_GET(self) -> None:
            if self.headers.get("Host", "").partition(":")[0] not in _NAMES:
                return self._answer(421, TEXT, "")
            if self.path not in ("/health", "/metrics"):
                return self._answer(404, TEXT, "")
            try:
                found = page()
            except Exception:
                log.exception("The page could not be made")
                return self._answer(500, TEXT, "")
            if self.path == "/metrics":
                return self._answer(200, TEXT, "".join(metric.text() for metric in found.metrics))
            body = {"schema_version": 1, "healthy": found.healthy, **found.facts}
            self._answer(200 if found.healthy else 503, "application/json", json.dumps(body) + "\n")

        def _answer(self, status: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            for name, value in (
                ("Content-Type", kind),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            log.debug(format, *args)

    return Handler


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
