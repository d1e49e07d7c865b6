"""``oncofed-sim``: emulated hospitals on one machine.

Nothing heavy is imported before a command runs, so that ``--help`` is instant.
"""

from __future__ import annotations

import importlib.util
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from common.cli.command_line import command_line
from common.cli.envelope import Json, print_json
from common.config.overrides import expanded
from common.errors import FederationError, UsageError
from simulations.cli.audit import HELP as AUDIT_HELP
from simulations.cli.audit import audit
from simulations.cli.baselines import HELP as BASELINES_HELP
from simulations.cli.baselines import baselines
from simulations.cli.compare import HELP as COMPARE_HELP
from simulations.cli.compare import compare
from simulations.cli.drift import HELP as DRIFT_HELP
from simulations.cli.drift import drift
from simulations.cli.explain import HELP as EXPLAIN_HELP
from simulations.cli.explain import explain
from simulations.cli.package import HELP as PACKAGE_HELP
from simulations.cli.package import package
from simulations.cli.pretrain import HELP as PRETRAIN_HELP
from simulations.cli.pretrain import pretrain
from simulations.cli.sweep import HELP as SWEEP_HELP
from simulations.cli.sweep import sweep

HELP = """Emulated hospitals on one machine train one classifier, privately.

Research use only - not a medical device.

Examples:

  oncofed-sim run

  oncofed-sim run data=bus_bra data.root=~/BUS-BRA partition=natural privacy.epsilon=3

  oncofed-sim report runs/20261123T180000Z-study

  oncofed-sim explain runs/20261123T180000Z-study

  oncofed-sim package runs/20261123T180000Z-study --out packages/study

  oncofed-sim compare runs/eps3 runs/eps8

  oncofed-sim sweep sweep=head_lr trials=20

  oncofed-sim audit privacy.epsilon=3

  oncofed-sim drift --runs 200

Exit codes: 0 ok, 2 usage, 3 config, 4 data, 5 trust, 6 budget refused, 7 network, 8 run PARTIAL or FAILED,
70 bug, 130 interrupted.
"""
RUN_HELP = """Run one study and write its folder.

OVERRIDES are Hydra overrides of configs/study.yaml: groups (data, partition, model, training, privacy, strategy,
evaluation, experiment) and single values.

Examples:

  oncofed-sim run --engine inprocess training.rounds=3

  oncofed-sim run data=breastmnist data.root=~/breastmnist.npz privacy.epsilon=8 --out runs/mnist

  oncofed-sim run partition=dirichlet partition.sites=10 privacy=none

  oncofed-sim run -m seed=0,1,2 privacy.epsilon=1,3 --engine inprocess --out runs/grid

  oncofed-sim run --resume runs/mnist
"""


app = command_line("oncofed-sim", HELP)


class EngineName(StrEnum):
    """Choices of ``--engine``."""

    flower = "flower"
    inprocess = "inprocess"


@app.command(help=RUN_HELP)
def run(
    overrides: Annotated[list[str] | None, typer.Argument(help="Hydra overrides, such as privacy.epsilon=3.")] = None,
    engine: Annotated[
        EngineName, typer.Option(help="flower: Flower's simulation runtime (Ray). inprocess: the same apps here.")
    ] = EngineName.flower,
    out: Annotated[
        Path | None, typer.Option(help="New folder of the run [default: runs/<time>-<name>].", show_default=False)
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder of an interrupted run to go on with.", show_default=False)
    ] = None,
    as_json: Json = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Show nothing while it runs.")] = False,
    multirun: Annotated[
        bool, typer.Option("--multirun", "-m", help="Run each combination of values, as in seed=0,1,2.")
    ] = False,
) -> None:
    """Runs one study."""
    from simulations.engine.display import console, progress_on
    from simulations.engine.run import run_study

    screen = console()
    if multirun:
        return _run_grid(overrides or [], engine, out, resume, as_json=as_json, quiet=no_progress)
    with progress_on(screen, wanted=not no_progress) as progress:
        folder = run_study(expanded(overrides or []), engine.value, out, resume, progress)
    _show(folder, screen, as_json=as_json)


def _run_grid(
    overrides: list[str], engine: EngineName, out: Path | None, resume: Path | None, *, as_json: bool, quiet: bool
) -> None:
    from common.reporting.run_report import headline_table
    from simulations.cli.multirun import run_grid

    if resume:
        raise UsageError("-m goes on by itself where --out names its folder; leave --resume out")
    folders = run_grid(expanded(overrides), engine.value, out, quiet=quiet)
    for folder in folders:
        print(f"{folder}", file=sys.stderr)
    print(f"Compare them: oncofed-sim compare {' '.join(map(str, folders))}", file=sys.stderr)
    if as_json:
        print_json([{"folder": str(folder), "table": headline_table(folder)} for folder in folders])


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    as_json: Json = False,
) -> None:
    """Render report.html and the model card of a run again, and show its table.

    Example: oncofed-sim report runs/20261123T180000Z-study
    """
    from common.reporting.model_card import write_model_card
    from common.reporting.run_report import write_run_report
    from simulations.engine.display import console
    from simulations.engine.run import status_of

    status_of(folder)
    write_run_report(folder)
    write_model_card(folder)
    _show(folder, console(), as_json=as_json, judge=False)


def _show(folder: Path, screen: Any, *, as_json: bool, judge: bool = True) -> None:
    """Prints the table, the verdict and the report's path; exits with 8 unless the run is COMPLETED with all pages.

    Raises:
        typer.Exit: 8 when ``judge`` and the run is PARTIAL or FAILED, or a page of it cannot be written.
    """
    from common.reporting.advice import gain_of_some, outside_advice
    from common.reporting.run_report import headline_table
    from common.runs.run_files import read_run
    from simulations.engine.display import RESEARCH_ONLY, headline, verdict
    from simulations.engine.reasons import reasons
    from simulations.engine.run import status_of

    record, rows, page = status_of(folder), headline_table(folder), folder / "report.html"
    broken = judge and (record["status"] != "COMPLETED" or bool(record.get("report_error")))
    files = read_run(folder)
    screen.print(headline(rows, private=record["private"]))
    for line in filter(None, [gain_of_some(rows), *outside_advice(files)]):
        screen.print(line, highlight=False, soft_wrap=True, markup=False)
    screen.print(verdict(record), highlight=False, soft_wrap=True)
    for site, why in sorted(reasons(folder).items()):
        screen.print(f"{site}: {why}", highlight=False, soft_wrap=True, markup=False)
    screen.print(f"{RESEARCH_ONLY}.", highlight=False)
    screen.print(f"Report: {page}", highlight=False, soft_wrap=True, markup=False)
    if as_json:
        outside = (files.outside or {}).get("sites", {})
        facts = {key: record[key] for key in ("status", "reason", "name", "run_id", "rounds_planned", "rounds_done")}
        print_json(
            facts | {"folder": str(folder), "report": str(page), "table": rows, "outside": outside},
            "failed" if broken else "ok",
        )
    if problem := record.get("report_error"):
        screen.print(f"Of its pages, {problem}.", highlight=False, soft_wrap=True, markup=False)
    if broken:
        raise typer.Exit(FederationError.exit_code)


app.command("audit", help=AUDIT_HELP)(audit)
app.command("baselines", help=BASELINES_HELP)(baselines)
app.command("compare", help=COMPARE_HELP)(compare)
app.command("drift", help=DRIFT_HELP)(drift)
app.command("explain", help=EXPLAIN_HELP)(explain)
app.command("package", help=PACKAGE_HELP)(package)
app.command("pretrain", help=PRETRAIN_HELP)(pretrain)
app.command("sweep", help=SWEEP_HELP)(sweep)

if importlib.util.find_spec("simulations.cli.data") is not None:
    from simulations.cli.data import app as data_app

    app.add_typer(data_app, name="data")


def main() -> None:
    """Runs ``oncofed-sim``."""
    app()


if __name__ == "__main__":
    main()
