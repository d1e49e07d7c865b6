"""Runs side by side: paired where the patients are the same, by seed where the studies are, else not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from common.errors import UsageError
from simulations.analysis.compare import compare_runs
from simulations.cli.compare import lines
from simulations.cli.main import app
from simulations.engine.run import run_study

QUICK = ("data=wdbc", "model=linear", "partition.sites=2", "training.rounds=1", "training.local_epochs=1",
         "privacy=none", "evaluation.local_baseline=false", "evaluation.personal_epochs=0",
         "evaluation.resamples=0")  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for name, overrides in {
        **{f"slow{seed}": (f"seed={seed}", "training.lr=0.01") for seed in range(3)},
        **{f"fast{seed}": (f"seed={seed}", "training.lr=0.5") for seed in range(3)},
    }.items():
        made[name] = folder / name
        run_study([*QUICK, *overrides], "inprocess", made[name], None, lambda row: None)
    return made


def pooled(run: Path) -> float:
    return float(json.loads((run / "evaluation.json").read_text())["models"]["federated"]["pooled"]["auroc"]["value"])


def test_the_same_patients_are_compared_one_by_one(runs: dict[str, Path]) -> None:
    document = compare_runs([runs["slow0"], runs["fast0"]])
    (pair,) = document["pairs"]
    # Scores travel as counts in bins, so the pooled figure of the report is off by the binning.
    assert pair["difference"]["value"] == pytest.approx(pooled(runs["fast0"]) - pooled(runs["slow0"]), abs=0.01)
    assert pair["difference"]["low"] <= pair["difference"]["value"] <= pair["difference"]["high"]
    assert document["differs"] == {"training.lr": [0.01, 0.5]}
    assert document["runs"][0]["auroc"]["value"] == pooled(runs["slow0"])


def test_other_patients_are_not_compared(runs: dict[str, Path]) -> None:
    (pair,) = compare_runs([runs["slow0"], runs["fast1"]])["pairs"]
    assert pair["difference"] is None and "test patients differ" in pair["why"]


def test_seeds_of_one_study_are_a_group_and_groups_are_paired_by_seed(runs: dict[str, Path]) -> None:
    slow, fast = ([runs[f"{kind}{seed}"] for seed in range(3)] for kind in ("slow", "fast"))
    document = compare_runs([*slow, *reversed(fast)])
    first, second = document["groups"]
    areas = [[pooled(run) for run in kind] for kind in (slow, fast)]
    assert first["mean"] == pytest.approx(np.mean(areas[0]))
    assert second["standard_deviation"] == pytest.approx(np.std(areas[1], ddof=1))
    (pair,) = document["group_pairs"]
    assert pair["seeds"] == [0, 1, 2] and document["pairs"] == []
    assert pair["difference"]["p"] == pytest.approx(stats.ttest_rel(areas[1], areas[0]).pvalue)
    assert pair["difference"]["value"] == pytest.approx(np.mean(areas[1]) - np.mean(areas[0]))


def test_two_seeds_are_too_few_for_a_test(runs: dict[str, Path]) -> None:
    document = compare_runs([runs[name] for name in ("slow0", "slow1", "fast0", "fast1")])
    (pair,) = document["group_pairs"]
    assert pair["difference"] is None and any("needs 3 or more" in line for line in lines(document))


def test_what_is_no_tested_run_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two or more different runs"):
        compare_runs([runs["slow0"], runs["slow0"]])
    result = CliRunner().invoke(app, ["compare", str(runs["slow0"]), str(tmp_path)])
    assert result.exit_code == 3
    untested = tmp_path / "untested"
    untested.mkdir()
    (untested / "run.json").write_text((runs["slow0"] / "run.json").read_text())
    with pytest.raises(UsageError, match="was not tested"):
        compare_runs([runs["slow0"], untested])


def test_the_command_prints_what_json_says(runs: dict[str, Path]) -> None:
    result = CliRunner().invoke(app, ["compare", str(runs["slow0"]), str(runs["fast0"]), "--json"])
    assert result.exit_code == 0
    document: dict[str, Any] = json.loads(result.stdout)["data"]
    assert document == json.loads(json.dumps(compare_runs([runs["slow0"], runs["fast0"]])))
    assert "fast0 less slow0: AUROC" in result.stderr
