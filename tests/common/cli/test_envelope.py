"""``--json`` prints one document of one shape in every command, also when it fails; help is the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from client.cli.main import app as site
from common.cli.command_line import command_line
from common.cli.envelope import Json, print_json
from common.errors import DataError
from server.cli.main import app as hub
from simulations.cli.main import app as sim

APPS = {"oncofed-site": site, "oncofed-hub": hub, "oncofed-sim": sim}
LINES = {"oncofed-site predict"}
"""Commands that print one JSON line an exam, since they may run for hours."""


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(command, click.Group) or hasattr(command, "commands"):
        for part, below in command.commands.items():
            yield from _commands(below, f"{name} {part}")
    else:
        yield name, command


ALL = dict(pair for name, app in APPS.items() for pair in _commands(get_command(app), name))
WITH_JSON = sorted(
    name for name, command in ALL.items() if any("--json" in getattr(option, "opts", ()) for option in command.params)
)


@pytest.fixture
def tool() -> typer.Typer:
    found = command_line("tool", "A tool.")

    @found.command()
    def good(as_json: Json = False) -> None:
        if as_json:
            print_json({"figure": 1})

    @found.command()
    def bad(as_json: Json = False, told: bool = False) -> None:
        if told:
            print_json({"finding": "x"}, "failed")
        raise DataError("the images are not there")

    return found


def _run(app: typer.Typer, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.stdout


def test_there_are_commands_with_json_in_each_command_line() -> None:
    assert {name.split()[0] for name in WITH_JSON} == set(APPS) and len(WITH_JSON) > 15


@pytest.mark.parametrize("name", sorted(set(WITH_JSON) - LINES))
def test_every_command_takes_the_one_option(name: str) -> None:
    (option,) = (option for option in ALL[name].params if "--json" in option.opts)
    assert option.callback is not None and option.help == "Print one JSON document on stdout."


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_command_says_what_it_does(name: str) -> None:
    words = name.split()
    done = CliRunner().invoke(APPS[words[0]], [*words[1:], "--help"])
    assert done.exit_code == 0 and ALL[name].help, name


def test_what_is_printed_is_the_envelope(tool: typer.Typer) -> None:
    code, out = _run(tool, "good", "--json")
    assert (code, json.loads(out)) == (0, {"schema_version": 1, "status": "ok", "data": {"figure": 1}})
    assert _run(tool, "good") == (0, "")


def test_an_error_is_one_document_too_and_never_a_second_one(tool: typer.Typer) -> None:
    code, out = _run(tool, "bad", "--json")
    error = {"exit_code": 4, "message": "the images are not there"}
    assert (code, json.loads(out)) == (4, {"schema_version": 1, "status": "error", "data": error})
    code, out = _run(tool, "bad", "--json", "--told")
    assert (code, json.loads(out)["status"]) == (4, "failed")
    assert _run(tool, "bad") == (4, "")


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("oncofed-site", ["ledger", "verify"]), ("oncofed-site", ["status"]), ("oncofed-site", ["doctor"]),
        ("oncofed-site", ["privacy", "report"]), ("oncofed-hub", ["status"]), ("oncofed-hub", ["sites"]),
    ],
)  # fmt: skip
def test_a_home_that_is_not_there_is_an_envelope(app: str, words: list[str], tmp_path: Path) -> None:
    code, out = _run(APPS[app], *words, "--json", "--home", str(tmp_path / "none"))
    found = json.loads(out)
    assert set(found) == {"schema_version", "status", "data"} and (code == 0) == (found["status"] == "ok")


def test_a_run_that_is_not_there_is_an_envelope(tmp_path: Path) -> None:
    for words in (["report"], ["explain"], ["compare"]):
        code, out = _run(sim, *words, str(tmp_path), "--json")
        assert code != 0 and json.loads(out)["status"] == "error", words
