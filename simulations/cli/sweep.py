"""``oncofed-sim sweep``: search settings on public or synthetic data."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.cli.envelope import Json, print_json

if TYPE_CHECKING:
    from simulations.analysis.sweep.document import SweepDocument, TrialResult

HELP = """Search settings of a study on public or synthetic data, by their validation; the test stays unopened.

WORDS are sweep=SPACE (a file of configs/sweep or a YAML file of yours), trials=N, sampler=tpe|random|grid,
pruner=median|hyperband|none, sampler_seed=N, reruns=N, and Hydra overrides of the study.

Examples:

  oncofed-sim sweep sweep=head_lr trials=30 experiment=breastmnist_eps8 data.root=~/breastmnist.npz

  oncofed-sim sweep sweep=network trials=20 data=busi data.root=~/busi --jobs 2

  oncofed-sim sweep --resume runs/20261128T120000Z-sweep-head_lr

  oncofed-sim run experiment=runs/20261128T120000Z-sweep-head_lr/best.yaml data.root=~/breastmnist.npz
"""


def sweep(
    words: Annotated[list[str] | None, typer.Argument(help="sweep=..., trials=... and Hydra overrides.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder [default: runs/<time>-sweep-<space>].", show_default=False)
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of a sweep to go on with.", show_default=False)] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Trials side by side, a process each.")] = 1,
    public_data: Annotated[bool, typer.Option("--public-data", help="The images of data=manifest are public.")] = False,
    as_json: Json = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Show nothing while it runs.")] = False,
) -> None:
    """Searches settings."""
    folder, document = _swept(words or [], out, resume, jobs, public=public_data, quiet=no_progress)
    _show(folder, document)
    if as_json:
        print_json({"folder": str(folder), "sweep": document.to_json()})


def _swept(
    words: list[str], out: Path | None, resume: Path | None, jobs: int, *, public: bool, quiet: bool
) -> tuple[Path, SweepDocument]:
    from common.config.overrides import expanded
    from common.errors import UsageError
    from simulations.engine.display import console, progress_on
    from simulations.engine.ended import sigterm_interrupts
    from simulations.engine.environment import quiet_environment

    os.environ.update(quiet_environment())
    from simulations.analysis.sweep.settings import read_settings, settings_of
    from simulations.analysis.sweep.sweep import conduct, new_folder

    if resume and (words or out):
        raise UsageError("Give --resume alone: the settings of a sweep stand in its folder")
    folder = resume.resolve() if resume else new_folder(settings_of(expanded(words), public=public), out)
    total = read_settings(folder).trials
    with progress_on(console(), wanted=not quiet) as progress, sigterm_interrupts(), _going_on(folder):
        document = conduct(folder, jobs, lambda event: progress({"phase": _line(event, total)}))
    return folder, document


@contextmanager
def _going_on(folder: Path) -> Iterator[None]:
    """Says how to go on when the sweep is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Go on with: oncofed-sim sweep --resume {shlex.quote(str(folder))}") from None


def _line(event: Mapping[str, Any], total: int) -> str:
    if "trial" not in event:
        return str(event["phase"])
    trial: TrialResult = event["trial"]
    figure = "" if trial.value is None else f" {trial.value:.3f}"
    why = f": {trial.reason}" if trial.reason else ""
    return f"trial {trial.number} of {total} {trial.state}{figure} in {trial.seconds:.0f} s{why}"


def _show(folder: Path, document: SweepDocument) -> None:
    from simulations.analysis.sweep.figures import NAMES
    from simulations.engine.display import RESEARCH_ONLY, console

    winner, name = document.winner, NAMES[document.objective]
    lines = [f"Best of {len(document.trials)} trials: trial {winner.number}, {name} {winner.value:.3f}"]
    lines += [f"  {word}" for word in winner.overrides]
    if document.rerun_mean is not None:
        lines.append(
            f"With {len(document.reruns)} new seeds: {document.rerun_mean:.3f}; the sweep was {document.optimism:+.3f} "
            "too good"
        )
    lines += [f"Use it: oncofed-sim run experiment={folder / 'best.yaml'}", f"{RESEARCH_ONLY}."]
    lines += [f"Page: {folder / 'sweep.html'}"]
    for line in lines:
        console().print(line, highlight=False, soft_wrap=True, markup=False)
