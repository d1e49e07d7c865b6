"""A study on public features over TLS: each hospital keeps the checkpoint by its digest, and the hub tells no path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file
from typer.testing import CliRunner

from client.cli.main import app
from simulations.engine.run import run_study
from simulations.pretrain.pretraining import Options, make_checkpoint
from tests.scenarios.deployment.conftest import SITES, STUDY, Run, emulation

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

pytestmark = pytest.mark.timeout(900)
SMALL = Options(epochs=2, dimensions=16)
SUMS = (
    "model=linearised", "training.method=statistics", "training.rounds=3", "strategy.weighting=equal",
    "evaluation.select_by=last", "evaluation.local_baseline=false",
)  # fmt: skip


def begun(deployment: Deployment, name: str, checkpoint: Path, digest: str) -> Run:
    path = deployment.folder / f"{name}.yaml"
    named = [f"model.weights={checkpoint}", f"model.checkpoint={digest}", f"name={name}"]
    path.write_text(yaml.safe_dump([*STUDY, *SUMS, *named]))
    return Run(deployment.run(name, str(path)), deployment.processes[f"run {name}"])


def test_hospitals_train_on_the_features_of_a_checkpoint_that_they_keep(deployment: Deployment, tmp_path: Path) -> None:
    made = make_checkpoint(["data.patients=120"], [], tmp_path / "hub only", SMALL, lambda text: None)
    without = begun(deployment, "without", made.folder, made.digest).wait(deployment)
    assert without["status"] == "FAILED"
    assert all(f"{site} (model-mismatch)" in without["reason"] for site in SITES)
    for site in SITES:
        kept = CliRunner().invoke(app, ["checkpoint", "add", str(made.folder), "--home", str(deployment.home(site))])
        assert kept.stdout.strip() == made.digest, kept.output
    run = begun(deployment, "kept", made.folder, made.digest)
    status = run.wait(deployment)
    assert (status["status"], status["reason"]) == ("COMPLETED", ""), deployment.tails()
    for site in SITES:
        noted = [path.read_text() for path in (deployment.home(site) / "studies").glob("*.json")]
        assert noted and not any("hub only" in text for text in noted), "the hub's path did not travel"
        assert json.loads((run.folder / f"privacy/{site}.json").read_text())["private"]
    overrides = [*emulation(deployment.data), *SUMS, f"model.weights={made.folder}"]
    simulated = run_study(overrides, "inprocess", out=tmp_path / "simulated")
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (run.folder, simulated))
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values, err_msg=name)
