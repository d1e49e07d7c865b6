"""What holds the house together: who imports whom, quick and complete help, one truth about packaging."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from common.config.study import CONFIG_DIR
from simulations.cli.main import app
from simulations.engine.app_dir import RUN_CONFIG, app_dir

HEAVY = ("flwr", "hydra", "matplotlib", "monai", "numpy", "opacus", "pydantic", "ray", "sklearn", "torch")


@pytest.fixture(scope="module")
def pyproject(project_root: Path) -> dict[str, Any]:
    return tomllib.loads((project_root / "pyproject.toml").read_text(encoding="utf-8"))


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, (*path, name))


COMMANDS = dict(_commands(typer.main.get_command(app)))


def test_imports_go_down_only(project_root: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=project_root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_imports_nothing_heavy(path: tuple[str, ...]) -> None:
    code = f"""
import json, sys
from simulations.cli.main import app
try:
    app({[*path, "--help"]!r})
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_and_option_says_what_it_is_for(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help and len(command.help.split()) > 3
    if not getattr(command, "commands", None):
        assert "xample" in command.help, f"{path} shows no example"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path}: {parameter.opts} has no help"


def _requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower() for requirement in requirements}


def test_flower_has_nothing_to_install_before_a_run(pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    extras = [item for items in project["optional-dependencies"].values() for item in items]
    assert set(pyproject["tool"]["uv"]["exclude-dependencies"]) == _requirement_names(project["dependencies"] + extras)


def test_every_dependency_has_an_exact_version_among_the_constraints(
    pyproject: dict[str, Any], project_root: Path
) -> None:
    lines = (project_root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    known = {name.lower().replace("_", "-") for name in pins}
    assert set(pyproject["tool"]["uv"]["exclude-dependencies"]) <= known


def test_the_staged_app_is_the_app_of_the_checkout(
    pyproject: dict[str, Any], project_root: Path, tmp_path: Path
) -> None:
    staged = app_dir(tmp_path)
    ours, theirs = pyproject, tomllib.loads((staged / "pyproject.toml").read_text(encoding="utf-8"))
    for key in ("publisher", "components", "config"):
        assert theirs["tool"]["flwr"]["app"][key] == ours["tool"]["flwr"]["app"][key]
    assert theirs["project"]["version"] == ours["project"]["version"]
    assert set(RUN_CONFIG) == set(ours["tool"]["flwr"]["app"]["config"])
    assert (staged / "server" / "app.py").exists() and (staged / "configs" / "study.yaml").exists()


def test_configs_travel_in_the_wheel_where_the_code_looks_for_them(pyproject: dict[str, Any]) -> None:
    packages = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {"common", "configs"} <= set(packages)
    assert CONFIG_DIR.name == "configs" and CONFIG_DIR.is_dir()


def test_the_bundle_for_sites_holds_code_and_configs_only(project_root: Path) -> None:
    from flwr.cli.build import build_fab_from_disk

    names = _names_in(build_fab_from_disk(project_root))
    roots = {name.partition("/")[0] for name in names}
    assert roots == {".info", "LICENSE", "client", "common", "configs", "pyproject.toml", "server"}
    assert {"server/app.py", "client/app.py", "configs/study.yaml"} <= names


def _names_in(bundle: bytes) -> set[str]:
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return set(archive.namelist())
