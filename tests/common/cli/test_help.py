"""Every command's help: plain, with its defaults as one would type them."""

from __future__ import annotations

import click
import pytest
import typer.main
from typer.testing import CliRunner

from client.cli.main import app as site
from server.cli.main import app as hub
from simulations.cli.main import app as sim

APPS = {"oncofed-sim": sim, "oncofed-site": site, "oncofed-hub": hub}


def commands(command: click.Command, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of a command and of all below it."""
    below = command.commands.items() if isinstance(command, click.Group) else ()
    return [words, *(found for name, child in below for found in commands(child, (*words, name)))]


ALL = [(name, words) for name, app in APPS.items() for words in commands(typer.main.get_command(app))]


@pytest.mark.parametrize(("name", "words"), ALL, ids=[" ".join((name, *words)) for name, words in ALL])
def test_no_sign_of_another_language_shows_through(name: str, words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(APPS[name], [*words, "--help"])
    assert shown.exit_code == 0
    assert "Usage:" in shown.output and "\\[" not in shown.output
