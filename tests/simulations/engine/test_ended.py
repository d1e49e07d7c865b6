"""A simulated run that breaks off says so, how to go on, and that its patients are made up; then it goes on."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from common.cli.guard import INTERRUPTED
from common.errors import ConfigError, FederationError
from common.reporting.run_report import write_run_report
from simulations.cli.main import app
from simulations.engine.ended import ending, go_on, settle
from simulations.engine.run import run_study, status_of
from tests.simulations.engine.test_run import QUICK

LONG = [*QUICK, "training.rounds=40"]


def started(engine: str, folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """``oncofed-sim run`` as a process of its own, after its first round."""
    command = [
        sys.executable,
        "-m",
        "simulations.cli.main",
        "run",
        "--engine",
        engine,
        "--out",
        str(folder),
        *overrides,
    ]
    # A background job of a shell inherits that SIGINT is ignored; a person's does not.
    runner = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert runner.stderr is not None
    for line in runner.stderr:
        if line.startswith("round 1/"):
            return runner
    raise AssertionError(f"it ended with {runner.wait()} before the first round")


def said(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run.json").read_text()))


@pytest.mark.parametrize("engine", ["inprocess", "flower"])
def test_ctrl_c_leaves_a_run_that_says_how_it_goes_on(engine: str, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    runner = started(engine, folder, *LONG)
    runner.send_signal(signal.SIGINT)
    _, rest = runner.communicate()
    assert runner.returncode == INTERRUPTED
    assert go_on(folder) in rest and "Traceback" not in rest
    assert said(folder)["status"] == "INTERRUPTED" and go_on(folder) in said(folder)["reason"]
    page = (folder / "report.html").read_text()
    assert "INTERRUPTED after" in page and "Synthetic data" in page


def test_a_run_that_ends_before_its_first_checkpoint_says_whose_images_it_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("server.run.checkpoint.save", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_study([*QUICK, "training.rounds=2"], "inprocess", tmp_path / "run")
    assert said(tmp_path / "run")["synthetic"] and said(tmp_path / "run")["status"] == "INTERRUPTED"
    assert "Synthetic data" in (tmp_path / "run" / "report.html").read_text()


def test_a_killed_run_is_found_interrupted_and_goes_on_by_its_own_command(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    runner = started("inprocess", folder, *QUICK, "training.rounds=6")
    runner.kill()
    runner.communicate()
    assert said(folder)["status"] == "RUNNING"
    shown = CliRunner().invoke(app, ["report", str(folder)])
    assert "INTERRUPTED" in shown.stderr and said(folder)["status"] == "INTERRUPTED"
    program, *words = shlex.split(go_on(folder))
    assert program == "oncofed-sim"
    assert CliRunner().invoke(app, [*words, "--engine", "inprocess"]).exit_code == 0
    assert said(folder)["status"] == "COMPLETED"


def test_a_run_that_is_going_on_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"status": "RUNNING"}')
    with ending(tmp_path):
        assert not settle(tmp_path)
        with pytest.raises(ConfigError, match="Another process"), ending(tmp_path):
            raise AssertionError("two processes run in one folder")
    assert said(tmp_path)["status"] == "RUNNING"


def test_a_runtime_that_breaks_down_leaves_failed_and_its_reason(finished: Path) -> None:
    (finished / "run.json").write_text(json.dumps(said(finished) | {"status": "RUNNING", "rounds_done": 1}))
    with pytest.raises(FederationError, match="Ray died") as caught, ending(finished):
        raise FederationError("Ray died")
    assert go_on(finished) in str(caught.value)
    assert said(finished)["status"] == "FAILED" and "Ray died" in said(finished)["reason"]
    assert "FAILED after 1 of" in (finished / "report.html").read_text()


def test_nothing_is_written_over_an_end_that_the_run_has(finished: Path) -> None:
    running = said(finished) | {"status": "RUNNING"}
    (finished / "run.json").write_text(json.dumps(running))
    with pytest.raises(KeyboardInterrupt), ending(finished):
        (finished / "run.json").write_text(json.dumps(running | {"status": "COMPLETED"}))
        raise KeyboardInterrupt
    assert said(finished)["status"] == "COMPLETED"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_study([*QUICK, "name=a-b"], "inprocess", tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def finished(once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once, tmp_path / "copy"))


@pytest.mark.parametrize("engine", ["inprocess", "flower"])
def test_the_printed_command_makes_the_same_model(engine: str, once: Path, tmp_path: Path) -> None:
    if engine == "flower":
        once = run_study(QUICK, engine, tmp_path / "first")
    write_run_report(once)
    page = (once / "report.html").read_text()
    command = page.partition('aria-label="Command">')[2].partition("</pre>")[0]
    program, *words = shlex.split(command.replace("&#39;", "'").replace("&#34;", '"'))
    assert program == "oncofed-sim"
    again = tmp_path / "again"
    assert CliRunner().invoke(app, [*words, "--out", str(again)]).exit_code == 0
    assert status_of(again)["engine"] == engine
    models = [load_file(folder / "model" / "model.safetensors") for folder in (once, again)]
    assert {name: array.tobytes() for name, array in models[0].items()} == {
        name: array.tobytes() for name, array in models[1].items()
    }
