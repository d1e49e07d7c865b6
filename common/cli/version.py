"""``--version`` of each command line."""

from __future__ import annotations

from typing import Annotated

import typer

from common.version import version_line


def _print_version(asked: bool) -> None:
    if asked:
        print(version_line())
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and digests, and end."),
]


def add_version(app: typer.Typer) -> None:
    """Gives a command line its ``--version``."""

    @app.callback()
    def options(version: Version = False) -> None:
        del version
