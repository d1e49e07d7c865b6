"""``oncofed-sim run``: both engines give the same weights, bad input is told before anything starts, codes are true."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner, Result

from common.cli.guard import BUG, INTERRUPTED
from common.config.overrides import split_overrides
from common.config.study import compose
from common.errors import BudgetExceeded, DataError, FederationError, NetworkError, TrustError
from simulations.cli.main import app
from simulations.engine import run as run_module
from simulations.engine.display import describe, verdict
from simulations.engine.run import prepare, run_study, status_of

QUICK = [
    "data.patients=120",
    "data.image_size=32",
    "model.width=4",
    "training.rounds=2",
    "training.batch_patients=10",
    "evaluation.local_epochs=1",
    "evaluation.home_folds=2",
    "evaluation.personal_epochs=1",
    "evaluation.bins=256",
    "partition.sites=3",
    "privacy.accountant=rdp",
]


def _sim(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_study(QUICK, "inprocess", tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_both_engines_give_the_same_weights_bit_by_bit(finished: Path, tmp_path: Path) -> None:
    events: list[Mapping[str, Any]] = []
    folder = run_study(QUICK, "flower", tmp_path / "flower", progress=events.append)
    assert status_of(folder)["status"] == "COMPLETED", (folder / "flower.log").read_text()[-3000:]
    ours, theirs = (load_file(path / "model" / "model.safetensors") for path in (finished, folder))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].tobytes() == theirs[name].tobytes(), name
    here, there = (json.loads((path / "evaluation.json").read_text()) for path in (finished, folder))
    assert here == there
    assert status_of(finished)["engine"] == "inprocess" and status_of(folder)["engine"] == "flower"
    assert [event["round"] for event in events if "round" in event] == [1, 2]


def test_a_finished_run_is_shown_with_its_report(copied: Path) -> None:
    (copied / "report.html").unlink()
    result = _sim("report", str(copied), "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1 and document["data"]["status"] == "COMPLETED"
    assert [row["site"] for row in document["data"]["table"]] == ["site_1", "site_2", "site_3", "pooled"]
    assert "at home" in result.stderr and "Research use only" in result.stderr
    assert (copied / "report.html").exists()


def test_the_command_runs_a_study_and_tells_its_status(tmp_path: Path) -> None:
    arguments = ["--engine", "inprocess", "--out", str(tmp_path / "run"), "+simulation.ceilings.site_2=1.0"]
    result = _sim("run", *QUICK, *arguments)
    assert result.exit_code == FederationError.exit_code, result.stderr
    assert "PARTIAL" in result.stderr and "site_2 (budget-refused)" in result.stderr
    assert "site_2: The study asks for epsilon 8, the site's ceiling is 1" in result.stderr
    assert "round 1/2: 2 sites" in result.stderr
    assert result.stdout == ""


def test_an_interrupted_run_is_resumed_with_its_own_overrides(copied: Path) -> None:
    plan = prepare([], "inprocess", None, copied)
    assert plan.study == compose(QUICK)
    assert plan.run_config["resume"] == str(copied) and plan.run_config["out-dir"] == ""


def test_relative_paths_reach_processes_that_work_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = [*QUICK, "simulation.ledger_dir='led gers, it\\'s'", "name=a"]
    plan = prepare(overrides, "inprocess", Path("out"), None)
    study = compose(split_overrides(str(plan.run_config["overrides"])))
    assert study.simulation.ledger_dir == str(tmp_path / "led gers, it's")
    assert plan.run_config["out-dir"] == str(tmp_path / "out")


BAD = {
    "unknown override": (["nosuch=1"], 3, "nosuch"),
    "unknown choice": (
        ["model=nosuch"],
        3,
        "Expected one of: densenet121, linear, linearised, lite0, mlp",
    ),
    "choice misspelt": (["model=resnet19"], 3, "did you mean resnet18?"),
    "key misspelt": (["privacy.epsilo=3"], 3, "did you mean epsilon? Expected one of: mode, colluders, epsilon, delta"),
    "group misspelt": (["privcy=none"], 3, "did you mean privacy?"),
    "no sign": (["privacy.epsilon"], 3, "expected key=value"),
    "unknown network": (["model.name=resnet19"], 3, "choose one of densenet121"),
    "network that does not fit": (["model=linear"], 3, "linear reads tables"),
    "epsilon above every ceiling": (["privacy.epsilon=50"], 6, "4 of 4 hospitals would refuse the study. site_1"),
    "open quote": (["name='x"], 3, "cannot be composed"),
    "epsilon of nought": (["privacy.epsilon=0"], 3, "privacy.epsilon"),
    "quorum above sites": (["strategy.quorum=9"], 3, "quorum"),
    "no data there": (["data=bus_bra", "data.root=/nowhere"], 4, "/nowhere"),
    "no data named": (["data=bus_bra"], 3, "data.root"),
    "folder in a file": (["--out", "/dev/null/x"], 3, "cannot be written"),
    "unknown engine": (["--engine", "nosuch"], 2, "nosuch"),
    "resume nothing": (["--resume", "/nowhere"], 3, "no run"),
    "old and new": (["--resume", "/nowhere", "--out", "/elsewhere"], 2, "not both"),
}


@pytest.mark.parametrize(("arguments", "code", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_one_paragraph_and_a_code_before_anything_starts(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = _sim("run", *arguments)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr and "starting" not in result.stderr
    assert "\n\n" not in result.stderr.partition("Error:")[2].strip()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_a_run_is_not_overwritten(copied: Path) -> None:
    before = (copied / "run.json").read_bytes()
    result = _sim("run", "--engine", "inprocess", "--out", str(copied))
    assert result.exit_code == 3 and "already holds a run" in " ".join(result.stderr.split())
    assert (copied / "run.json").read_bytes() == before


def test_an_error_is_on_stdout_too_when_json_is_wanted() -> None:
    result = _sim("run", "--json", "privacy.epsilon=0")
    document = json.loads(result.stdout)
    assert document["status"] == "error" and document["data"]["exit_code"] == result.exit_code == 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TrustError("a hash differs"), 5),
        (BudgetExceeded("spent"), 6),
        (NetworkError("gone"), 7),
        (DataError("torn"), 4),
        (FederationError("Flower died"), 8),
        (KeyboardInterrupt(), INTERRUPTED),
        (ZeroDivisionError("nobody foresaw"), BUG),
    ],
)
def test_every_error_has_its_code(error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Path:
        raise error

    monkeypatch.setattr(run_module, "run_study", broken)
    result = _sim("run")
    assert result.exit_code == code
    assert "Traceback" not in result.stderr
    assert str(error) in result.stderr
    if code == BUG:
        kept = Path(result.stderr.split()[-1])
        assert "ZeroDivisionError" in kept.read_text()
        kept.unlink()


def test_lines_of_progress_name_who_is_missing() -> None:
    row = {
        "round": 2,
        "val": {"pooled": {"auroc": None}},
        "joined": ["a"],
        "failures": [{"site": "b", "code": "bad-update"}],
    }
    assert describe(row, 8) == "round 2/8: 1 sites, validation AUROC -; without b (bad-update)"
    assert describe(row, 2).endswith("; now the test")
    run = {"status": "FAILED", "rounds_done": 1, "rounds_planned": 8, "reason": "lost [b]"}
    assert "FAILED" in verdict(run) and r"lost \[b]" in verdict(run)
