"""A sweep on the phantom: killed and resumed, never at the test patients, with its price on every page."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from typer.testing import CliRunner

import simulations.analysis.sweep.trials as trials_module
from client.site.hospital import Cohort
from common.config.overrides import expanded
from common.config.study import compose
from common.errors import DataError, FederationError
from simulations.analysis.sweep.document import SweepDocument, best_of, read_document
from simulations.analysis.sweep.search import Search
from simulations.analysis.sweep.settings import read_settings, settings_of
from simulations.analysis.sweep.sweep import conduct, new_folder
from simulations.analysis.sweep.units import noise_of_a_step, training_patients
from simulations.cli.main import app
from simulations.engine import emulation
from simulations.engine.run import run_study

QUICK = [
    "data.patients=120", "data.image_size=32", "model.width=4", "training.rounds=2", "training.batch_patients=10",
    "evaluation.bins=256", "partition.sites=3", "privacy.accountant=rdp",
]  # fmt: skip
SPACE = {"objective": "auroc", "space": {"training.lr": {"float": [0.1, 4.0], "log": True}}}


def _space(folder: Path, document: Any = SPACE) -> str:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def _begun(folder: Path, trials: int = 3, *more: str) -> Path:
    words = [f"sweep={_space(folder)}", f"trials={trials}", "reruns=2", *QUICK, *more]
    return new_folder(settings_of(words), folder / "sweep")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SweepDocument]:
    folder = _begun(tmp_path_factory.mktemp("swept"))
    return folder, conduct(folder)


def test_the_document_is_what_was_run(swept: tuple[Path, SweepDocument]) -> None:
    folder, document = swept
    assert read_document(folder) == document
    assert [trial.number for trial in document.trials] == [0, 1, 2] and document.data == "phantom"
    for trial in document.trials:
        lines = (folder / "trials" / f"{trial.number:04d}" / "metrics.jsonl").read_text().splitlines()
        figures = [json.loads(line)["val"]["pooled"]["auroc"] for line in lines]
        assert trial.value == max(figures) and [value for _, value in trial.rounds] == figures
    assert document.winner.value == max(trial.value or 0 for trial in document.trials)
    assert [run.seed for run in document.reruns] == [1, 2]
    mean = sum(run.value for run in document.reruns) / 2
    assert document.optimism == pytest.approx((document.winner.value or 0) - mean)


def test_losers_keep_what_tells_how_they_went_only(swept: tuple[Path, SweepDocument]) -> None:
    folder, _ = swept
    left = {path.name for path in (folder / "trials" / "0000").iterdir()}
    assert left == {"metrics.jsonl", "study.yaml", "overrides.yaml", "run.json"}


def test_the_winner_is_an_experiment_that_says_what_it_was_tuned_on(swept: tuple[Path, SweepDocument]) -> None:
    folder, document = swept
    words = expanded([f"experiment={folder / 'best.yaml'}", "privacy.epsilon=2"])
    study = compose(words)
    assert study.training.lr == pytest.approx(float(document.winner.values["training.lr"]), rel=1e-3)
    assert (study.tuned.sweep, study.tuned.trials, study.privacy.epsilon) == (document.digest, 3, 2.0)
    assert "own patients" in study.tuning_problem
    other = compose([*words, "data=wdbc", "model=linear"])
    assert not other.tuning_problem


def test_a_run_of_the_winner_says_in_its_report_and_statements_that_its_patients_were_asked(
    swept: tuple[Path, SweepDocument], tmp_path: Path
) -> None:
    folder, document = swept
    quick = ["evaluation.local_baseline=false", "evaluation.personal_epochs=0"]
    done = run_study(expanded([f"experiment={folder / 'best.yaml'}", *quick]), "inprocess", tmp_path / "run")
    said = f"by a sweep of 3 trials on phantom (sweep {document.digest[:12]})"
    assert said in (done / "report.html").read_text() and said in (done / "model_card.md").read_text()
    statements = [json.loads(path.read_text()) for path in (done / "privacy").glob("*.json")]
    assert len(statements) == 3
    assert all(any(said in line for line in statement["not_covered"]) for statement in statements)


def test_the_page_shows_the_price_and_the_optimism(swept: tuple[Path, SweepDocument]) -> None:
    folder, document = swept
    page = (folder / "sweep.html").read_text()
    assert "No epsilon covers that" in page and document.digest in page and "<script" not in page
    assert f"{document.rerun_mean:.3f}" in page


def test_a_sweep_never_loads_test_patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With test patients that cannot be read, a sweep ends whole and an ordinary run does not."""
    real = emulation.build_site

    def build(*args: Any, **kwargs: Any) -> Any:
        site = real(*args, **kwargs)

        def load(study: Any, split: str) -> Any:
            if split == "test":
                raise DataError("the test patients cannot be read")
            return site.cohort.load(study, split)

        cohort = Cohort(**{f.name: getattr(site.cohort, f.name) for f in dataclasses.fields(Cohort)} | {"load": load})
        return dataclasses.replace(site, cohort=cohort)

    monkeypatch.setattr(emulation, "build_site", build)
    assert len(conduct(_begun(tmp_path, 1)).trials) == 1
    with pytest.raises(FederationError):
        run_study([*QUICK, "evaluation.local_baseline=false"], "inprocess", tmp_path / "run")
        status = json.loads((tmp_path / "run" / "run.json").read_text())
        raise FederationError(status["reason"])


def test_a_kill_loses_the_running_trial_only(
    swept: tuple[Path, SweepDocument], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real, seen = _begun(tmp_path, 3), trials_module.run_study, list[str]()

    def broken(overrides: Any, *args: Any, **kwargs: Any) -> Path:
        seen.append(next(word for word in overrides if word.startswith("training.lr=")))
        if len(seen) == 2:
            raise KeyboardInterrupt  # nothing is told to the journal, as after kill -9
        return real(overrides, *args, **kwargs)

    monkeypatch.setattr(trials_module, "run_study", broken)
    with pytest.raises(KeyboardInterrupt):
        conduct(folder)
    document = conduct(folder)
    assert [trial.state for trial in document.trials] == ["complete"] * 3
    assert [trial.values for trial in document.trials] == [trial.values for trial in swept[1].trials]
    assert seen[2] == seen[1], "the trial that was lost is tried again with its settings"
    assert len(seen) == 4


def test_a_sweep_that_has_ended_is_resumed_without_a_run(
    swept: tuple[Path, SweepDocument], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(swept[0], tmp_path / "again"))

    def never(*args: Any, **kwargs: Any) -> Path:
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr(trials_module, "run_study", never)
    monkeypatch.setattr("simulations.analysis.sweep.sweep.run_study", never)
    assert conduct(folder) == swept[1]


def test_a_failing_trial_is_a_result_and_a_sweep_of_failures_an_error(tmp_path: Path) -> None:
    document = {"space": {"training.optimizer": {"choice": ["nonsense", "sgd"]}}}
    words = [f"sweep={_space(tmp_path, document)}", "sampler=grid", "trials=2", "reruns=0", *QUICK]
    found = conduct(new_folder(settings_of(words), tmp_path / "one"))
    assert sorted(trial.state for trial in found.trials) == ["complete", "failed"]
    assert "nonsense" in next(trial.reason for trial in found.trials if trial.state == "failed")
    document = {"space": {"training.optimizer": {"choice": ["nonsense"]}}}
    words[0] = f"sweep={_space(tmp_path, document)}"
    with pytest.raises(FederationError, match=r"first failed so: .*nonsense"):
        conduct(new_folder(settings_of(words), tmp_path / "none"))


def test_a_pruned_trial_says_so_and_wins_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _begun(tmp_path, 2)
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: trial.number == 1)
    found = conduct(folder)
    assert [trial.state for trial in found.trials] == ["complete", "pruned"] and found.best == 0
    assert len(found.trials[1].rounds) == 1
    assert "pruner" in json.loads((folder / "trials" / "0001" / "run.json").read_text())["reason"]


def test_workers_share_one_count_of_trials(tmp_path: Path) -> None:
    folder = _begun(tmp_path, 4)
    found = conduct(folder, jobs=2)
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3], (folder / "workers.log").read_text()
    assert Search(folder, read_settings(folder)).results() == found.trials
    assert len({trial.values["training.lr"] for trial in found.trials}) == 4, "no process proposes what another has"


def test_log_loss_is_better_when_smaller(swept: tuple[Path, SweepDocument]) -> None:
    trials = swept[1].trials
    values = {trial.number: trial.value for trial in trials}
    lowest, highest = best_of(trials, "log_loss"), best_of(trials, "auroc")
    assert lowest is not None and highest is not None
    assert lowest.value == min(values.values(), key=float) and highest.value == max(values.values(), key=float)


def test_the_unit_of_noise_is_what_a_step_adds() -> None:
    study = compose([*QUICK, "privacy.clip_norm=0.5"])
    patients = training_patients(study)
    one = noise_of_a_step(study, patients)
    half = noise_of_a_step(compose([*QUICK, "privacy.clip_norm=0.25"]), patients)
    assert half == pytest.approx(one / 2)
    settings = settings_of(["sweep=head_lr", *QUICK])
    from simulations.analysis.sweep.units import trial_overrides

    words = trial_overrides(settings, {"training.lr": 0.1, "privacy.clip_norm": 0.5, "strategy.averaging": 0.0})
    rate = float(next(word for word in words if word.startswith("training.lr=")).partition("=")[2])
    assert rate * one == pytest.approx(0.1, rel=1e-3)


def test_the_command_line_tells_a_users_mistake_without_a_traceback(tmp_path: Path) -> None:
    for words, said in (
        (["sweep", "sweep=none_such"], "none_such"),
        (["sweep", "--resume", str(tmp_path)], "holds no sweep"),
        (["sweep", "trials=2", "--resume", str(tmp_path)], "alone"),
    ):
        result = CliRunner().invoke(app, words)
        assert result.exit_code in (2, 3) and said in result.output and "Traceback" not in result.output
