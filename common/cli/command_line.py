"""A command line as all three are: guarded against tracebacks, with ``--version`` and plain help."""

from __future__ import annotations

import typer
from typer.core import TyperGroup

from common.cli.guard import Guarded
from common.cli.version import add_version


class _Group(Guarded, TyperGroup):
    pass


def command_line(name: str, text: str) -> typer.Typer:
    """Returns the command ``name`` without commands of its own yet; ``text`` is its help."""
    app = typer.Typer(
        name=name, help=text, cls=_Group, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    add_version(app)
    return app
