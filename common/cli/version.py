"""``--version`` of each command line, and its help without riddles."""

from __future__ import annotations

from typing import Annotated

import typer

from common.cli.help import use_plain_help
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
    """Gives a command line its ``--version`` and plain help."""
    use_plain_help()

    @app.callback()
    def options(version: Version = False) -> None:
        del version
