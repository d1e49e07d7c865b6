"""``oncofed-sim explain``: what a site's page shows, what the run's document tells, and what neither says."""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn
from typer.testing import CliRunner, Result

from common.errors import ConfigError, DataError, UsageError
from common.explain.explanation_state import ExplanationState
from common.explain.randomised import STAGES, randomised
from simulations.analysis import explain as explain_module
from simulations.analysis.explain import ExplainOptions, explain_run, outcome_of, spread
from simulations.analysis.gallery import LABEL, OUTLINE, outlined, overlay
from simulations.cli.main import app
from simulations.engine.reopened import reopen
from simulations.engine.run import run_study

STUDY = [
    "data.patients=100",
    "data.image_size=32",
    "model.width=4",
    "training.rounds=1",
    "training.batch_patients=20",
    "evaluation.local_baseline=false",
    "evaluation.bins=256",
    "partition.sites=2",
    "privacy=none",
]


def dark(model: nn.Module, inputs: Tensor, method: str) -> np.ndarray:
    """Stands in for a heatmap: a lesion of the phantom is darker than what is around it."""
    del model, method
    heat = (1 - inputs.mean(1)) / 2
    return heat.clamp(0, 1).numpy()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_study(STUDY, "inprocess", tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def _sim(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def _pages(run: Path) -> dict[str, str]:
    return {path.parts[-3]: path.read_text() for path in run.glob("sites/*/gallery/index.html")}


def test_the_reopened_model_is_the_runs(run: Path) -> None:
    opened = reopen(run)
    weights = load_file(run / "model" / "model.safetensors")
    state = opened.model().state_dict()
    assert {name: state[name].numpy().tobytes() for name in weights} == {n: w.tobytes() for n, w in weights.items()}
    assert set(opened.tests) == {"site_1", "site_2"}
    assert all(record.split == "test" for part in opened.tests.values() for record in part.records)


def test_calls_are_those_of_the_runs_evaluation(run: Path) -> None:
    document = explain_run(run, ExplainOptions(count=0), mapper=dark)
    confusion = json.loads((run / "evaluation.json").read_text())["models"]["federated"]["pooled"]["confusion"]
    assert document["pooled"]["all"]["patients"] == sum(confusion.values())
    told = {name: part["patients"] for name, part in document["pooled"].items() if name in confusion}
    assert all(told[name] <= confusion[name] for name in told)


def test_pages_hold_pictures_and_the_run_only_sums(run: Path) -> None:
    document = explain_run(run, ExplainOptions(count=2), mapper=dark)
    pages = _pages(run)
    assert set(pages) == {"site_1", "site_2"}
    for page in pages.values():
        assert page.count("data:image/png;base64,") > 2
        assert LABEL in page and "Research use only" in page and "Synthetic images" in page
        assert not re.search(r"(src|href)=\"(?!data:|#)", page), "a page must need nothing outside itself"
    text = (run / "explanation.json").read_text()
    assert json.loads(text) == document and document["schema_version"] == 1
    assert "image" not in text.replace('"images"', "")


def test_pages_name_no_patient(run: Path) -> None:
    explain_run(run, ExplainOptions(count=4), mapper=dark)
    for site, page in _pages(run).items():
        assert not any(record.patient in page for record in reopen(run).tests[site].records)


def test_the_pool_is_the_sum_of_what_the_sites_release(run: Path) -> None:
    document = explain_run(run, ExplainOptions(count=0), mapper=dark)
    states = [ExplanationState.from_json(site["state"]) for site in document["sites"].values()]
    assert document["pooled"] == json.loads(json.dumps(ExplanationState.total(states).summarise(0.95)))
    for state in states:
        assert all(cell.patients >= document["min_cell"] for cell in state.cells.values())


def test_a_map_of_dark_places_finds_the_phantoms_lesions(run: Path) -> None:
    """The phantom's lesions are dark, so masks that lay elsewhere would show here."""
    whole = explain_run(run, ExplainOptions(count=0), mapper=dark)["pooled"]["all"]["measures"]
    assert whole["energy"]["against_chance"] == "above"
    assert "padding" not in whole, "phantom images are square"


def test_the_sanity_check_tells_a_map_of_the_image_from_one_of_the_weights(run: Path) -> None:
    def of_weights(model: nn.Module, inputs: Tensor, method: str) -> np.ndarray:
        with torch.no_grad():
            heat = model.features(inputs).mean(1, keepdim=True)
        return nn.functional.interpolate(heat.sigmoid(), size=inputs.shape[2:], mode="bilinear")[:, 0].numpy()

    options = ExplainOptions(count=0, sanity=True)
    assert explain_run(run, options, mapper=dark)["sanity"]["verdict"] == "does not depend on the weights"
    found = explain_run(run, options, mapper=of_weights)["sanity"]
    assert found["layers"][-1]["spearman"] < 0.8
    assert found["layers"][0]["layer"] == "head"


def test_randomising_goes_from_the_head_down_and_leaves_the_model_alone() -> None:
    model = nn.Sequential(*(nn.Linear(12, 12) for _ in range(9)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stages = list(randomised(model, 0))
    assert len(stages) == STAGES and stages[0][0] == "8"
    changed = [{n for n, v in other.state_dict().items() if not torch.equal(v, before[n])} for _, other in stages]
    assert changed[0] == {"8.weight", "8.bias"} and changed[-1] == set(before)
    assert all(fewer < more for fewer, more in pairwise(changed))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    last = stages[-1][1].state_dict()
    assert all(torch.equal(last[name].flatten().sort()[0], before[name].flatten().sort()[0]) for name in before)


def test_pictures_are_spread_over_the_scores() -> None:
    class View:
        def __init__(self, number: int) -> None:
            self.number, self.score = number, 1 - number / 100

    views = [View(number) for number in range(21)]
    assert [view.number for view in spread(views, 3)] == [20, 10, 0]
    assert len(spread(views, 50)) == 21 and spread([], 3) == [] and spread(views, 0) == []


def test_a_picture_shows_through_where_the_map_is_zero() -> None:
    grey = np.full((8, 8, 3), 0.4)
    heat = np.zeros((8, 8))
    heat[2:5, 2:5] = 1
    covered = overlay(grey, heat)
    assert np.array_equal(covered[heat == 0], grey[heat == 0])
    assert not np.allclose(covered[3, 3], grey[3, 3])
    lesion = np.zeros((8, 8), np.bool_)
    lesion[1:7, 1:7] = True
    line = (outlined(grey, lesion) == OUTLINE).all(axis=2)
    assert line.sum() == 36 - 4 and not line[~lesion].any()


@pytest.mark.parametrize(
    ("called", "malignant", "name"),
    [(True, True, "tp"), (True, False, "fp"), (False, False, "tn"), (False, True, "fn")],
)
def test_outcomes(called: bool, malignant: bool, name: str) -> None:
    assert outcome_of(called, malignant) == name


def test_the_command_prints_a_table_and_json(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_module, "heatmaps", dark)
    result = _sim("explain", str(run), "--site", "site_2", "--count", "1", "--method", "occlusion", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["status"] == "ok" and list(document["data"]["sites"]) == ["site_2"]
    assert document["data"]["method"] == "occlusion"
    for words in ("pointing", "pooled", "Research use only", LABEL, "gallery"):
        assert words in result.stderr
    assert set(_pages(run)) == {"site_2"}


def test_unknown_sites_and_folders_without_a_run_are_told(run: Path, tmp_path: Path) -> None:
    result = _sim("explain", str(run), "--site", "nowhere")
    assert result.exit_code == UsageError.exit_code and "site_1, site_2" in " ".join(result.stderr.split())
    assert _sim("explain", str(tmp_path / "nothing")).exit_code == ConfigError.exit_code


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        (["model"], "left no model"),
        (["evaluation.json", "threshold.json"], "no threshold"),
        (["overrides.yaml"], "emulated hospitals"),
    ],
)
def test_half_a_run_is_refused_in_words(run: Path, gone: list[str], words: str) -> None:
    for name in gone:
        target = run / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(ConfigError, match=words):
        reopen(run)


def test_other_test_patients_than_the_runs_are_refused(run: Path) -> None:
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    record["sites"][0]["counts"]["test"]["patients"] = 1
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="run the study again"):
        reopen(run)
