"""``oncofed-sim baselines``: a study beside everything that it should be compared with."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.cli.envelope import Json, print_json
from common.errors import UsageError

if TYPE_CHECKING:
    from simulations.analysis.baselines.table import Baselines

HELP = """Run one study in every way that it should be compared with, and put them into one table.

Pooled patients, the federation with and without privacy, with noise of each site and shared noise, models made at home,
home with the federation, the public checkpoint, and each hospital as if it had no labels. Each over the same seeds.
OVERRIDES are those of the study. Give --out a folder that is there, and only what is missing is run.

Examples:

  oncofed-sim baselines data.patients=400 --seeds 0,1,2 --out runs/baselines

  oncofed-sim baselines experiment=busbra_plain data.root=~/BUS-BRA --out runs/busbra
"""


def baselines(
    overrides: Annotated[list[str] | None, typer.Argument(help="Hydra overrides of the study.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2",
    out: Annotated[
        Path | None, typer.Option(help="Folder [default: runs/<time>-baselines].", show_default=False)
    ] = None,
    as_json: Json = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Show nothing while it runs.")] = False,
) -> None:
    """Compares a study with its rivals."""
    from simulations.engine.display import console, progress_on
    from simulations.engine.environment import quiet_environment

    os.environ.update(quiet_environment())
    chosen = _seeds(seeds)
    with progress_on(console(), wanted=not no_progress) as progress:
        folder, document = _compared(overrides or [], chosen, out, progress)
    _show(folder, document)
    if as_json:
        print_json({"folder": str(folder), "baselines": document.to_json()})


def _compared(overrides: list[str], seeds: list[int], out: Path | None, progress: Any) -> tuple[Path, Baselines]:
    from common.config.overrides import expanded
    from common.runs.run_folder import runs_root
    from simulations.analysis.baselines.baselines import run_baselines

    folder = (out or runs_root() / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-baselines").resolve()
    return folder, run_baselines(expanded(overrides), seeds, folder, progress)


def _seeds(text: str) -> list[int]:
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        raise UsageError(f"--seeds {text}: expected whole numbers separated by commas, as in 0,1,2") from None
    if len(set(found)) != len(found) or min(found) < 0:
        raise UsageError(f"--seeds {text}: expected each seed once, none below 0")
    return found


def _show(folder: Path, document: Baselines) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from simulations.analysis.baselines.page import ordered
    from simulations.engine.display import RESEARCH_ONLY, console

    table, screen = Table(box=SIMPLE_HEAD), console()
    for head in ("Model", "AUROC", "over home", "interval"):
        table.add_column(head)
    for row in ordered(document):
        table.add_row(row.name, *_cells(row))
    screen.print(table)
    screen.print(f"{RESEARCH_ONLY}.", highlight=False)
    screen.print(f"Page: {folder / 'baselines.html'}", highlight=False, soft_wrap=True, markup=False)


def _cells(row: Any) -> tuple[str, str, str]:
    if row.missing:
        return "-", "-", f"not measured: {row.missing}"
    area = f"{row.mean:.3f}" + (f" +- {row.deviation:.3f}" if row.deviation is not None else "")
    limits = "-" if row.low is None else f"{row.low:+.3f} to {row.high:+.3f}"
    return area, "-" if row.difference is None else f"{row.difference:+.3f}", limits
