"""What ``oncofed-sim run`` shows: one live line or plain lines while it runs, a table and a verdict after it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.status import Status
from rich.table import Table

RESEARCH_ONLY = "Research use only - not a medical device"
STYLES = {"COMPLETED": "green", "PARTIAL": "yellow", "FAILED": "red", "INTERRUPTED": "yellow"}
DASH = "-"
PIPE_WIDTH = 120


class Progress(Protocol):
    """Shows the events of :func:`simulations.run.run_study`."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, *exception: object) -> None: ...

    def __call__(self, event: Mapping[str, Any]) -> None: ...


def console() -> Console:
    """Returns stderr: as wide as the terminal, or wide enough for the table where there is none."""
    found = Console(stderr=True)
    return found if found.is_terminal else Console(stderr=True, width=PIPE_WIDTH)


def progress_on(screen: Console, *, wanted: bool) -> Progress:
    """Returns a live line on a terminal, plain lines otherwise, nothing when not wanted."""
    if not wanted:
        return _Nothing()
    return _LiveLine(screen) if screen.is_terminal else _PlainLines(screen)


class _Nothing:
    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def __call__(self, event: Mapping[str, Any]) -> None:
        return None


class _PlainLines(_Nothing):
    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._rounds = 0

    def __call__(self, event: Mapping[str, Any]) -> None:
        self._rounds = event.get("rounds", self._rounds)
        self._screen.print(describe(event, self._rounds), highlight=False, soft_wrap=True)


class _LiveLine(_Nothing):
    def __init__(self, screen: Console) -> None:
        self._started = time.monotonic()
        self._rounds = 0
        self._status = Status("preparing", console=screen)

    def __enter__(self) -> Progress:
        self._status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._status.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        self._rounds = event.get("rounds", self._rounds)
        elapsed = time.monotonic() - self._started
        self._status.update(f"{describe(event, self._rounds)} [dim]({elapsed:.0f} s)[/dim]")


def describe(event: Mapping[str, Any], rounds: int) -> str:
    """Returns one line for an event: a phase, or a finished round with who is missing."""
    if "phase" in event:
        return f"{event['phase']}: {rounds} rounds"
    auroc = event["val"]["pooled"].get("auroc")
    failures = ", ".join(f"{item['site']} ({item['code']})" for item in event["failures"])
    text = f"round {event['round']}/{rounds}: {len(event['joined'])} sites, validation AUROC {figure(auroc)}"
    return f"{text}; without {failures}" if failures else text


def headline(rows: Sequence[Mapping[str, Any]], *, private: bool) -> Table:
    """Returns the table of the sites: patients, epsilon spent (a dash: unknown), AUROC with interval, local-only."""
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("site", overflow="fold")
    for name in ("patients", "epsilon\nspent", "AUROC", "local-only AUROC"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row["site"] == "pooled":
            table.add_section()
        epsilon = DASH if row["epsilon"] is None else f"{row['epsilon']:.2f}"
        table.add_row(
            row["site"],
            DASH if row["patients"] is None else str(row["patients"]),
            epsilon if private else "not private",
            _with_interval(row["auroc"]),
            _with_interval(row["local_auroc"]),
        )
    return table


def verdict(run: Mapping[str, Any]) -> str:
    """Returns the status in rich markup, with who was lost and why."""
    status = run["status"]
    text = f"[bold {STYLES.get(status, 'red')}]{status}[/]"
    reason = str(run.get("reason", "")).strip()
    rounds = f"{run['rounds_done']} of {run['rounds_planned']} rounds"
    return f"{text}: {rounds}" + (f"; {_plain(reason)}" if reason else "")


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _with_interval(area: Mapping[str, float | None]) -> str:
    if area["value"] is None:
        return DASH
    if area["low"] is None or area["high"] is None:
        return figure(area["value"])
    return f"{area['value']:.3f} ({area['low']:.3f}-{area['high']:.3f})"


def figure(value: float | None) -> str:
    """Returns three decimals, or a dash for what was not measured."""
    return DASH if value is None else f"{value:.3f}"
