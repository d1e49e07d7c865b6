"""``oncofed-sim package``: the model of a run as a folder that can be tried on other images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common.cli.envelope import Json, print_json

HELP = """Package a run's model: network, preprocessing, calibration, threshold, label, golden images.

The package tests itself when it is loaded, and expires with its validation. Its label says that the hospitals were
emulated. Models of tables are refused.

Examples:

  oncofed-sim package runs/mnist --out packages/mnist

  oncofed-site predict --package packages/mnist image.png
"""


def package(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run that was evaluated.")],
    out: Annotated[Path, typer.Option(help="Folder to make for the package.")],
    valid_days: Annotated[int, typer.Option(min=1, max=3650, help="Days until its validation expires.")] = 365,
    as_json: Json = False,
) -> None:
    """Writes the package and prints its digest."""
    from common.cli.guard import say
    from common.cli.writing import check_new
    from common.notice import RESEARCH_USE
    from simulations.analysis.packaged import package_run

    check_new(out, "--out")
    made = package_run(folder, out, valid_days)
    manifest = made.manifest
    say(f"Written: {out}, runs by {manifest.engine}{f' ({manifest.engine_reason})' * bool(manifest.engine_reason)}.")
    say(f"Attention: {manifest.attention}. Valid until {manifest.expires.date()}. {RESEARCH_USE}.")
    if as_json:
        print_json({"digest": made.digest, "folder": str(out)})
    else:
        print(made.digest)
