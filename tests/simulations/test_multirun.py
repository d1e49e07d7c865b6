"""``oncofed-sim run -m``: the product of the values, each a run of its own, and what has ended is not run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from common.errors import ConfigError
from simulations.cli import multirun
from simulations.cli.main import app
from simulations.cli.multirun import grid_of
from tests.simulations.engine.test_run import QUICK

CHEAP = [*QUICK, "training.rounds=1", "evaluation.local_baseline=false"]


def test_the_grid_is_the_product_and_paths_are_no_lists() -> None:
    runs = grid_of(["seed=0,1", "privacy.epsilon=1,3", "data.root=/a,b/c", "name=x"])
    assert [label for label, _ in runs] == [
        "seed=0-epsilon=1", "seed=0-epsilon=3", "seed=1-epsilon=1", "seed=1-epsilon=3",
    ]  # fmt: skip
    assert all("data.root=/a,b/c" in words and "name=x" in words for _, words in runs)


def test_a_list_is_one_value() -> None:
    assert len(grid_of(["partition.outside=[site_1,site_2]", "seed=range(0,3)"])) == 3


def test_too_many_runs_and_nonsense_are_refused() -> None:
    with pytest.raises(ConfigError, match="2000 runs"):
        grid_of(["seed=range(0,2000)"])
    with pytest.raises(ConfigError, match="cannot be read"):
        grid_of(["seed=[0,"])


def test_each_combination_is_a_run_and_none_is_run_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "-m", "--engine", "inprocess", "--no-progress", *CHEAP, "seed=0,2", "--out", str(tmp_path / "g")]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["data"]
    assert [Path(run["folder"]).name for run in found] == ["seed=0", "seed=2"]
    for seed in (0, 2):
        assert json.loads((tmp_path / "g" / f"seed={seed}" / "run.json").read_text())["seeds"]["seed"] == seed

    def never(*args: Any, **kwargs: Any) -> Path:
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr("simulations.engine.run.run_study", never)
    assert CliRunner().invoke(app, words).exit_code == 0
    assert multirun.MOST_RUNS >= 2


def test_nothing_that_varies_is_a_usage_error() -> None:
    done = CliRunner().invoke(app, ["run", "-m", "seed=1"])
    assert done.exit_code == 2 and "nothing varies" in done.output
