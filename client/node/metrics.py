"""The site's page for a watcher on this machine, from the values that ``oncofed-site status`` shows."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from client.node.overview import overview
from client.site.site_file import SiteHome
from common.services.monitor import Metric, Page, gauge, one_of, process_metrics

STATUSES = ("running", "reconnecting", "paused", "stopped", "dead", "never started")
HEALTHY = ("running", "paused")
_FACTS = ("name", "status", "since", "paused_since", "processes", "last_answer")


def site_page(home: SiteHome, now: datetime | None = None) -> Page:
    """Returns health and metrics; a paused site is healthy, one that cannot reach its hub is not.

    Raises:
        OncoFedError: The site's files cannot be read.
    """
    found = overview(home)
    facts = {key: found.get(key) for key in _FACTS}
    return Page(found["status"] in HEALTHY, facts, _metrics(found, now or datetime.now(UTC)))


def _metrics(found: dict[str, Any], now: datetime) -> list[Metric]:
    budget, last = found["budget"], found["last_answer"] or {}
    silence = (now - datetime.fromisoformat(last["time"])).total_seconds() if last else None
    return [
        one_of("oncofed_site_status", "What the daemon does.", "status", found["status"], STATUSES),
        gauge("oncofed_site_epsilon_spent", "Largest lifetime epsilon of a cohort.", _number(budget["epsilon"])),
        gauge("oncofed_site_epsilon_ceiling", "Epsilon that the policy allows.", budget["ceiling"]),
        gauge("oncofed_site_budget_readable", "Whether ledger and policy can be read.", float(not budget["problem"])),
        gauge("oncofed_site_round", "Round of the last answer, 0 outside the rounds.", last.get("round")),
        gauge("oncofed_site_seconds_since_last_answer", "Since something left the site.", silence),
        Metric(
            name="oncofed_site_answers_total", help="Messages that left, refusals included.", kind="counter",
            values={"": float(found["answers"])},
        ),
        Metric(
            name="oncofed_site_refusals_total", help="Refusals that left, by code.", kind="counter", label="code",
            values={code: float(count) for code, count in found["refusals"].items()},
        ),
        *process_metrics("oncofed_site", found["processes"]),
    ]  # fmt: skip


def _number(epsilon: float | str | None) -> float | None:
    return None if epsilon is None else math.inf if epsilon == "unbounded" else float(epsilon)
