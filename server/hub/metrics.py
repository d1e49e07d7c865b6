"""The hub's page for a watcher on this machine, from the values that ``oncofed-hub status`` shows."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from common.errors import OncoFedError
from common.runs.run_folder import RunFolder
from common.services.monitor import Metric, Page, gauge, one_of, process_metrics
from server.hub.control import Control
from server.hub.followed import read_status
from server.hub.home import HubHome
from server.hub.overview import overview

log = logging.getLogger("oncofed.hub")
STATUSES = ("starting", "ready", "stopped", "dead", "never started")
RUNS = ("RUNNING", "COMPLETED", "PARTIAL", "FAILED", "INTERRUPTED")
KINDS = ("invited", "approved", "revoked")
LOOK_SECONDS = 60.0
"""Flower is asked by a command of its own, which costs seconds of processor time."""


class Connections:
    """Looks now and then which sites are connected, in a thread, while it is entered."""

    def __init__(self, home: HubHome) -> None:
        self._control, self._ended = Control(home), threading.Event()
        self.nodes: Mapping[int, str] = {}
        self.looked: float | None = None

    def __enter__(self) -> Connections:
        threading.Thread(target=self._watch, name="connections", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def look(self) -> None:
        """Asks Flower now; keeps what was known when it does not answer."""
        try:
            if self._control.alive():
                self.nodes, self.looked = self._control.nodes(), time.monotonic()
        except OncoFedError as error:
            log.warning("Which sites are connected is not known: %s", error)

    def _watch(self) -> None:
        while not self._ended.is_set():
            self.look()
            self._ended.wait(LOOK_SECONDS)


def hub_page(home: HubHome, connections: Connections, now: datetime | None = None) -> Page:
    """Returns health and metrics.

    Raises:
        OncoFedError: The hub's files cannot be read.
    """
    found = overview(home, connections.nodes)
    moment = now or datetime.now(UTC)
    seen = None if connections.looked is None else time.monotonic() - connections.looked
    facts = {"status": found["hub"]["status"], "sites": found["sites"], "run": _public(found["run"])}
    metrics = [
        *_hub(found, seen),
        *_run(found["run"], moment),
        *process_metrics("oncofed_hub", found["hub"]["processes"]),
    ]
    return Page(facts["status"] == "ready", facts, metrics)


def _public(run: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if run is None else {key: value for key, value in run.items() if key not in ("folder", "reason")}


def _hub(found: Mapping[str, Any], seen: float | None) -> list[Metric]:
    sites = found["sites"]
    approved = [site for site in sites if site["status"] == "approved"]
    connected = {site["name"]: float(site["connection"] == "online") for site in approved}
    return [
        one_of("oncofed_hub_status", "What the daemon does.", "status", found["hub"]["status"], STATUSES),
        Metric(
            name="oncofed_hub_sites", help="Sites in the registry.", label="status",
            values={name: float(sum(site["status"] == name for site in sites)) for name in KINDS},
        ),
        gauge("oncofed_hub_sites_connected", "Approved sites that are connected.", sum(connected.values())),
        Metric(name="oncofed_hub_site_connected", help="Whether it is.", label="site", values=dict(connected)),
        gauge("oncofed_hub_seconds_since_connections_seen", "Age of the two above.", seen),
        gauge("oncofed_hub_certificate_days_left", "Until the server's ends.", found["certificate_days_left"]),
    ]  # fmt: skip


def _run(run: Mapping[str, Any] | None, now: datetime) -> list[Metric]:
    """Returns the figures of the last run; none before the first."""
    if run is None:
        return []
    folder = Path(run["folder"])
    rows = RunFolder(folder).read_metrics()
    epsilon = {site: value for row in rows for site, value in row.get("epsilon", {}).items()}
    return [
        one_of("oncofed_hub_run_status", "How the last run stands.", "status", str(run["status"]), RUNS),
        gauge("oncofed_hub_round", "Rounds done of the last run.", run["rounds_done"]),
        gauge("oncofed_hub_rounds_planned", "Rounds planned of the last run.", run["rounds_planned"]),
        gauge("oncofed_hub_seconds_since_last_round", "Since the last round's sites answered.", _age(folder, now)),
        Metric(
            name="oncofed_hub_site_epsilon_spent", help="Epsilon of the study, as each site told it.", label="site",
            values=epsilon,
        ),
        Metric(
            name="oncofed_hub_run_refusals", help="Refusals and losses in the last run, by code.", label="code",
            values=_refusals(folder, rows),
        ),
    ]  # fmt: skip


def _age(folder: Path, now: datetime) -> float | None:
    path = folder / "metrics.jsonl"
    return now.timestamp() - path.stat().st_mtime if path.exists() else None


def _refusals(folder: Path, rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """Counts each round's failures, and the sites that took part in none."""
    codes = Counter(str(failure["code"]) for row in rows for failure in row.get("failures", ()))
    named = {failure["site"] for row in rows for failure in row.get("failures", ())}
    lost = [site for site in (read_status(folder) or {}).get("sites", ()) if site["status"] == "lost"]
    codes.update(str(site["code"]) for site in lost if site["name"] not in named)
    return {code: float(count) for code, count in sorted(codes.items())}
