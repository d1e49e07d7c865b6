"""What ``oncofed-sim run`` shows: one live line or plain lines while it runs, a table and a verdict after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress as Live
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

RESEARCH_ONLY = "Research use only - not a medical device"
AREAS = {
    "local_auroc": "AUROC\nat home",
    "auroc": "AUROC\nfederated",
    "joined_auroc": "AUROC\nhome + fed.",
    "gain": "gain over\nhome",
}
STYLES = {"COMPLETED": "green", "PARTIAL": "yellow", "FAILED": "red", "INTERRUPTED": "yellow"}
DASH = "-"
PIPE_WIDTH = 120


class Progress(Protocol):
    """Shows the events of :func:`simulations.engine.run.run_study`."""

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


class _Clock:
    """Seconds since the start, and about how many are left once a round has shown how long rounds take."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._started = now, now()
        self._ends: dict[int, float] = {}

    def after(self, event: Mapping[str, Any], rounds: int) -> str:
        """Returns what to add to the line of an event."""
        elapsed = self._now() - self._started
        text = f"{elapsed:.0f} s"
        if "round" not in event:
            return text
        self._ends[event["round"]] = elapsed
        return f"{text}, about {self._left(rounds):.0f} s of rounds left" if event["round"] < rounds else text

    def _left(self, rounds: int) -> float:
        """The mean round so far, the first with what came before it only while there is no other."""
        first, last = min(self._ends), max(self._ends)
        mean = self._ends[first] if first == last else (self._ends[last] - self._ends[first]) / (last - first)
        return mean * (rounds - last)


class _PlainLines(_Nothing):
    def __init__(self, screen: Console) -> None:
        self._screen, self._clock, self._rounds = screen, _Clock(), 0

    def __call__(self, event: Mapping[str, Any]) -> None:
        self._rounds = event.get("rounds", self._rounds)
        line = f"{describe(event, self._rounds)} ({self._clock.after(event, self._rounds)})"
        self._screen.print(line, highlight=False, soft_wrap=True, markup=False)


class _LiveLine(_Nothing):
    """A spinner, the last event and a running clock; after a round about how long the others take."""

    def __init__(self, screen: Console) -> None:
        self._clock, self._rounds = _Clock(), 0
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(),
                   TextColumn("{task.fields[left]}", style="dim"))  # fmt: skip
        self._live = Live(*columns, console=screen, transient=True)
        self._task = self._live.add_task("preparing", total=None, left="")

    def __enter__(self) -> Progress:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        self._rounds = event.get("rounds", self._rounds)
        left = self._clock.after(event, self._rounds).partition(", ")[2]
        self._live.update(self._task, description=describe(event, self._rounds), left=left)


def describe(event: Mapping[str, Any], rounds: int) -> str:
    """Returns one line for an event: a phase, or a finished round with who is missing."""
    if "phase" in event:
        return f"{event['phase']}: {rounds} rounds" if "rounds" in event else str(event["phase"])
    auroc = event["val"]["pooled"].get("auroc")
    failures = ", ".join(f"{item['site']} ({item['code']})" for item in event["failures"])
    text = f"round {event['round']}/{rounds}: {len(event['joined'])} sites, validation AUROC {figure(auroc)}"
    text = f"{text}; without {failures}" if failures else text
    return text if event["round"] < rounds else f"{text}; now the test"


def headline(rows: Sequence[Mapping[str, Any]], *, private: bool) -> Table:
    """Returns the table of the sites: patients, epsilon spent (a dash: unknown), AUROC of each model with interval.

    What joining gives stands last; a model that no site has is left out.
    """
    from common.reporting.advice import named

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("site", overflow="fold")
    shown = {key: title for key, title in AREAS.items() if any(row[key]["value"] is not None for row in rows)}
    for name in ("patients", "epsilon\nspent", *shown.values()):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row["site"] == "pooled":
            table.add_section()
        epsilon = DASH if row["epsilon"] is None else f"{row['epsilon']:.2f}"
        table.add_row(
            named(row["site"]),
            DASH if row["patients"] is None else str(row["patients"]),
            epsilon if private else "not private",
            *(_with_interval(row[key], signed=key == "gain") for key in shown),
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


def _with_interval(area: Mapping[str, float | None], *, signed: bool = False) -> str:
    if area["value"] is None:
        return DASH
    if area["low"] is None or area["high"] is None:
        return figure(area["value"])
    sign = "+" if signed else ""
    low, high = (format(area[key], f"{sign}.2f") for key in ("low", "high"))
    return f"{area['value']:{sign}.3f}\n{low} to {high}" if signed else f"{area['value']:.3f}\n{low}-{high}"


def figure(value: float | None) -> str:
    """Returns three decimals, or a dash for what was not measured."""
    return DASH if value is None else f"{value:.3f}"
