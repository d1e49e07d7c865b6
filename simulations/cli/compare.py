"""``oncofed-sim compare``: which of these runs is better, and is that more than chance?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from common.cli.envelope import Json, print_json

HELP = """Put runs side by side: settings that differ, figures with intervals, paired tests.

Each other run is compared with the first. On the same test patients the models are opened again and compared patient
by patient (DeLong, paired). Runs that differ in the seed alone form a group: its mean and standard deviation are the
seed's noise, and groups are compared seed by seed (paired t-test, three seeds or more). Where no test is possible, it
is said why.

Examples:

  oncofed-sim compare runs/eps3 runs/eps8 runs/plain

  oncofed-sim compare runs/eps3-seed* runs/eps8-seed* --json
"""
DASH = "-"


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of finished runs.")],
    as_json: Json = False,
) -> None:
    """Compares runs."""
    from simulations.analysis.compare import compare_runs
    from simulations.engine.display import RESEARCH_ONLY, console
    from simulations.engine.environment import quiet_environment

    os.environ.update(quiet_environment())
    screen = console()
    document = compare_runs(runs)
    screen.print(_table(document))
    for line in lines(document):
        screen.print(line, highlight=False, soft_wrap=True, markup=False)
    screen.print(f"{RESEARCH_ONLY}.", highlight=False)
    if as_json:
        print_json(document)


def _table(document: Mapping[str, Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("run", overflow="fold")
    for title in ("status", "seed", "epsilon", "AUROC", "sensitivity", "specificity", "Brier", "worst site"):
        table.add_column(title, justify="right")
    for run in document["runs"]:
        worst = run["worst_site"]
        table.add_row(
            Text(run["folder"]), run["status"], str(run["seed"]), _figure(run["epsilon"], 2),
            *(_interval(run[key]) for key in ("auroc", "sensitivity", "specificity", "brier")),
            Text(f"{worst['site']} {worst['auroc']:.3f}" if worst else DASH),
        )  # fmt: skip
    return table


def lines(document: Mapping[str, Any]) -> list[str]:
    """Returns in words which settings differ and what the tests say."""
    found = [f"{key}: {', '.join(map(str, values))}" for key, values in document["differs"].items()]
    found = ["Settings that differ:", *(f"  {line}" for line in found)] if found else ["The studies are the same."]
    for group in document["groups"]:
        spread = _figure(group["standard_deviation"])
        found.append(
            f"{group['runs'][0]} and {len(group['runs']) - 1} more: AUROC {_figure(group['mean'])} +- {spread}"
        )
    for pair in document["pairs"]:
        found.append(_said(pair, "same test patients, DeLong"))
    for pair in document["group_pairs"]:
        found.append(_said(pair, f"{len(pair['seeds'])} seeds, paired t"))
    return found


def _said(pair: Mapping[str, Any], how: str) -> str:
    who, found = f"{pair['second']} less {pair['first']}", pair["difference"]
    if found is None:
        return f"{who}: not tested; {pair['why'] or 'too few patients of a class'}"
    verdict = "higher" if found["low"] > 0 else "lower" if found["high"] < 0 else "not told apart"
    return f"{who}: AUROC {found['value']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f}), {verdict} ({how})"


def _interval(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return DASH
    limits = "" if found["low"] is None or found["high"] is None else f"\n{found['low']:.3f}-{found['high']:.3f}"
    return f"{found['value']:.3f}{limits}"


def _figure(value: float | None, digits: int = 3) -> str:
    return DASH if value is None else f"{value:.{digits}f}"
