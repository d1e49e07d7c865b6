"""One study beside its rivals: each figure is that of its run, ways that cannot be had say why, nothing runs twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from common.config.study import compose
from common.errors import DataError
from simulations.analysis.baselines.baselines import run_baselines
from simulations.analysis.baselines.measure import pooled_area
from simulations.analysis.baselines.table import Baselines, Row, compared
from simulations.analysis.baselines.variants import passes, variants
from simulations.cli.main import app
from tests.simulations.engine.test_run import QUICK

LOCAL = "federated, each site adds its own noise"
POOLED = "all patients in one place, no privacy"


def _quiet(event: object) -> None:
    return None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Baselines]:
    folder = tmp_path_factory.mktemp("baselines")
    return folder, run_baselines([*QUICK, "training.rounds=1"], [0], folder, _quiet)


def test_each_row_is_read_off_its_run(made: tuple[Path, Baselines]) -> None:
    folder, document = made
    rows = {row.name: row for row in document.rows}
    models = json.loads((folder / "study" / "seed-0" / "evaluation.json").read_text())["models"]
    for row, model in (("the study as it is", "federated"), ("home", "local"), ("home + federation", "personalised")):
        assert rows[row].areas[0] == models[model]["within_sites"]["value"], row
    assert rows["the study as it is"].areas == rows[LOCAL].areas, "the default study adds noise at each site"
    outside = json.loads((folder / "without-site_2" / "seed-0" / "outside.json").read_text())["sites"]
    assert rows["site_2 has no labels: federated"].areas[0] == outside["site_2"]["federated"]["value"]
    assert rows[LOCAL].difference == pytest.approx(rows[LOCAL].areas[0] - rows["home"].areas[0])
    assert rows[POOLED].mean is not None and rows["home"].difference is None


def test_a_way_that_cannot_be_had_is_a_row_with_its_reason(made: tuple[Path, Baselines]) -> None:
    rows = {row.name: row for row in made[1].rows}
    assert "needs training.local_steps=1" in rows["federated, sites share the noise"].missing
    assert rows["federated, sites share the noise"].mean is None


def test_a_comparison_that_has_ended_runs_nothing_again(
    made: tuple[Path, Baselines], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **kwargs: Any) -> Path:
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr("simulations.engine.run.run_study", never)
    assert run_baselines([*QUICK, "training.rounds=1"], [0], made[0], _quiet) == made[1]


def test_pooled_patients_must_be_those_of_the_hospitals(made: tuple[Path, Baselines]) -> None:
    study, pooled = (compose([*QUICK, "training.rounds=1", f"seed={seed}"]) for seed in (0, 1))
    with pytest.raises(DataError, match="test patients"):
        pooled_area(made[0] / "pooled" / "seed-0", study, pooled)


def test_the_page_links_each_run(made: tuple[Path, Baselines]) -> None:
    page = (made[0] / "baselines.html").read_text()
    assert 'href="pooled/seed-0/report.html"' in page and (made[0] / "pooled/seed-0/report.html").is_file()
    assert json.loads((made[0] / "baselines.json").read_text()) == json.loads(json.dumps(made[1].to_json()))


def test_limits_are_those_of_a_paired_t_test() -> None:
    from scipy import stats

    one, two = {0: 0.70, 1: 0.75, 2: 0.80, 3: 0.71}, {0: 0.72, 1: 0.71, 2: 0.83, 3: 0.77}
    found = compared(Row(name="a", areas=one), Row(name="home", areas=two))
    oracle = stats.ttest_rel(list(one.values()), list(two.values())).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(oracle.low), pytest.approx(oracle.high))
    few = compared(Row(name="a", areas={0: 0.7}), Row(name="home", areas=two))
    assert few.difference == pytest.approx(-0.02) and few.low is None


def test_two_hospitals_leave_nobody_to_train_without_one() -> None:
    assert all(v.missing for v in variants(QUICK, ["site_1", "site_2"]) if v.name.startswith("without-"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["training.rounds=3", "training.local_epochs=2"], 6.0),
        (["training.rounds=30", "training.local_steps=1", "training.batch_patients=1000"], 30.0),
        (["training.rounds=10", "training.local_steps=2", "training.batch_patients=20"], 4.0),
    ],
)
def test_passes_count_how_often_a_patient_is_used(words: list[str], expected: float) -> None:
    assert passes(compose(words), 100) == pytest.approx(expected)


@pytest.mark.parametrize("seeds", ["0,0", "a", "-1", ""])
def test_bad_seeds_are_a_usage_error(seeds: str) -> None:
    result = CliRunner().invoke(app, ["baselines", f"--seeds={seeds}"])
    assert result.exit_code == 2 and "--seeds" in result.output
