"""``oncofed-sim pretrain``: make a public checkpoint from public images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from common.cli.envelope import Json, print_json

HELP = """Make a public checkpoint: fine-tune a network on public images and find the public basis.

OVERRIDES are those of a study: the data set, the network and the training. Nothing here is private, so give it public
images only, and none of the study's own.

Examples:

  oncofed-sim pretrain --out checkpoints/phantom

  oncofed-sim pretrain data=busi data.root=~/busi model=lite0 --out checkpoints/busi

  oncofed-sim run data=bus_bra data.root=~/BUS-BRA data.image_size=128 model=linearised model.weights=checkpoints/busi
"""


def pretrain(
    overrides: Annotated[list[str] | None, typer.Argument(help="Hydra overrides, such as data=busi.")] = None,
    out: Annotated[Path, typer.Option(help="New folder of the checkpoint.")] = Path("checkpoint"),
    also: Annotated[
        list[str] | None, typer.Option(help="Overrides of a further data set, quoted: 'data=bus_uclm data.root=...'.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="Passes over the training images at most.")] = 12,
    patience: Annotated[int, typer.Option(min=1, help="Passes without a better validation before it stops.")] = 4,
    tune: Annotated[str, typer.Option(help="Train from this block on, or all [default: the network's own].")] = "",
    block: Annotated[str, typer.Option(help="Block of the gradient features [default: the network's own].")] = "",
    dimensions: Annotated[int, typer.Option(min=1, max=1024, help="Axes of each public basis at most.")] = 192,
    as_json: Json = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Show nothing while it runs.")] = False,
) -> None:
    """Makes a public checkpoint."""
    from common.config.overrides import expanded
    from simulations.engine.display import RESEARCH_ONLY, console, progress_on
    from simulations.engine.environment import quiet_environment

    os.environ.update(quiet_environment())
    from simulations.pretrain.pretraining import Options, make_checkpoint

    screen = console()
    options = Options(epochs=epochs, patience=patience, tune=tune, block=block, dimensions=dimensions)
    with progress_on(screen, wanted=not no_progress) as progress:
        made = make_checkpoint(
            expanded(overrides or []), also or [], out, options, lambda text: progress({"phase": text})
        )
    figures = made.card.figures
    screen.print(f"Checkpoint: {out}", highlight=False, soft_wrap=True, markup=False)
    screen.print(f"Digest: {made.digest}", highlight=False, soft_wrap=True)
    screen.print(
        f"AUROC by patient: validation {figures['val_auroc']:.3f}, test {figures['test_auroc']:.3f}", highlight=False
    )
    screen.print(f"{RESEARCH_ONLY}.", highlight=False)
    if as_json:
        print_json({"folder": str(out), "digest": made.digest, "card": made.card.to_json()})
