"""A hub that asks a hospital for more than was agreed, or sends it code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from client.site.site_file import HOME_VARIABLE
from server.hub.conductor import Conductor
from server.hub.control import Control
from server.hub.home import HubHome
from tests.scenarios.deployment.steps import EVERYBODY, OTHERS, VICTIM, completed, paid_rounds

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

pytestmark = pytest.mark.timeout(900)
_CODE = """\
import os, pathlib
if {variable!r} in os.environ:
    pathlib.Path({marks!r}, str(os.getpid())).touch()
app = None
"""
MORE = ("privacy.epsilon=50", "privacy.mode=none", "model.width=8", "training.rounds=3", "privacy.max_images=64")


@pytest.fixture
def agreed(deployment: Deployment) -> Iterator[Path]:
    """The victim's policy names the one study that it joined for; yields the hub's settings."""
    hub = HubHome(deployment.home("hub"))
    before = hub.config_file.read_text()
    deployment.settings("hub", overrides=[*hub.config().overrides, "name=agreed"])
    deployment.policy(VICTIM, studies=[hub.config().study().digest()])
    yield hub.config_file
    hub.config_file.write_text(before)
    deployment.policy(VICTIM)


@pytest.mark.parametrize("wish", MORE)
def test_a_site_refuses_whatever_it_did_not_agree_to(deployment: Deployment, agreed: Path, wish: str) -> None:
    settings = yaml.safe_load(agreed.read_text())
    agreed.write_text(yaml.safe_dump(settings | {"overrides": [*settings["overrides"], wish]}))
    spent = deployment.charges(VICTIM)
    run = deployment.begin(f"more-{MORE.index(wish)}")
    run.wait_for_end(deployment)
    status = run.read("run.json")
    assert status["status"] in ("PARTIAL", "FAILED")
    assert f"{VICTIM} (policy-refused)" in status["reason"]
    assert deployment.charges(VICTIM) == spent
    assert all(set(row["joined"]) == OTHERS for row in run.rounds())


def test_the_agreed_study_still_runs(deployment: Deployment, agreed: Path) -> None:
    run = deployment.begin("agreed")
    completed(run.wait(deployment), run, deployment)


@pytest.mark.parametrize("component", ["client.app:app", "client_of_the_hub:app"])
def test_code_that_a_hub_sends_never_runs_at_a_site(deployment: Deployment, tmp_path: Path, component: str) -> None:
    """The bundle shadows the installed package, or names another; the answers come from what is installed."""
    marks = tmp_path / "ran"
    marks.mkdir()
    _the_mark_is_left_where_code_runs(marks)
    home = HubHome(deployment.home("hub"))
    app, folder = _bundle(tmp_path / "app", marks, component), deployment.folder / "runs" / f"code-{len(component)}"
    overrides = [*home.config().overrides, f"name=code-{len(component)}"]
    folder.mkdir(parents=True)
    Control(home).submit(app, Conductor(home)._run_config(folder, overrides, resume=False))
    deployment.until(lambda: _ended(folder), 240, "the end of the run")
    status = json.loads((folder / "run.json").read_text())
    assert (status["status"], status["reason"]) == ("COMPLETED", ""), deployment.tails()
    assert [site["name"] for site in status["sites"]] == EVERYBODY
    assert paid_rounds(deployment, status["run_id"]) == [1, 2]
    assert list(marks.iterdir()) == []


def _the_mark_is_left_where_code_runs(marks: Path) -> None:
    code = _CODE.format(variable=HOME_VARIABLE, marks=str(marks))
    subprocess.run([sys.executable, "-c", code], env={HOME_VARIABLE: "x"}, check=True)
    (mark,) = marks.iterdir()
    mark.unlink()


def _bundle(folder: Path, marks: Path, component: str) -> Path:
    """Flower's app with our name, in which every module leaves a mark once a hospital's process imports it."""
    from server.hub import conductor

    text = conductor._PYPROJECT.format(version="0.0.0").replace("client.app:app", component)
    code = _CODE.format(variable=HOME_VARIABLE, marks=str(marks))
    for name in ("client/__init__.py", "client/app.py", "client_of_the_hub.py", "sitecustomize.py"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    (folder / "pyproject.toml").write_text(text)
    return folder


def _ended(folder: Path) -> bool:
    path = folder / "run.json"
    return path.exists() and json.loads(path.read_text())["status"] != "RUNNING"
