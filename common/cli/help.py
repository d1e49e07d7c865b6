"""Help as it is meant: Typer escapes brackets for rich even where rich does not write the help."""

from __future__ import annotations

from collections.abc import Iterable

import click


class PlainFormatter(click.HelpFormatter):
    """Writes brackets where Typer says a backslash and brackets."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Writes names and what they mean."""
        super().write_dl([(name, text.replace(r"\[", "[")) for name, text in rows], col_max, col_spacing)


def use_plain_help() -> None:
    """Has every command of this process write its help so."""
    click.Context.formatter_class = PlainFormatter
