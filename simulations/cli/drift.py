"""``oncofed-sim drift``: how soon does a site's monitor see a change, and how often does it alarm for nothing?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from common.cli.envelope import Json, print_json

HELP = """Put the monitor and river's detectors before simulated departments in which something changes.

Changes: scanner, contrast, prevalence, threshold, label delay, and none. For each: share of runs with an alarm before
the change, share of the others that saw it, median days to the alarm.

Example: oncofed-sim drift --runs 200
"""


def drift(
    runs: Annotated[int, typer.Option(min=1, max=10_000, help="Simulated departments.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of all of them.")] = 0,
    as_json: Json = False,
) -> None:
    """Measures delays and false alarms."""
    from common.cli.progress import counted
    from simulations.analysis.drift.table import Plan, drift_table
    from simulations.analysis.markdown import table

    rows = drift_table(Plan(runs=runs, seed=seed), counted(runs, "departments"))
    if as_json:
        print_json({"runs": runs, "rows": rows})
        return
    print(table(by_detector(rows)))


def by_detector(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns one row a detector: its false alarms, and of each change the share that saw it with the median days."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        line = found.setdefault(row["detector"], {"detector": row["detector"], "false alarms": row["false_alarms"]})
        line[row["change"]] = f"{row['seen']:.2f}" + ("" if row["days"] is None else f", {row['days']:.0f} days")
    return list(found.values())
