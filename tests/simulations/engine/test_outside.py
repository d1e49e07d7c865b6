"""Hospitals outside a federation: nobody trains on them, and the run says what its model is worth to them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from common.config.study import compose
from common.errors import ConfigError, DataError
from common.reporting.run_report import write_run_report
from simulations.cli.main import app
from simulations.engine.emulation import check_emulation, emulated_cohorts, site_names
from simulations.engine.reopened import reopen
from simulations.engine.run import completed_run, run_study, status_of
from tests.simulations.engine.test_run import QUICK

OUT = [*QUICK, "partition.outside=[site_2]", "evaluation.local_baseline=false", "evaluation.bins=65536"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_study(OUT, "inprocess", tmp_path_factory.mktemp("runs") / "run")


def test_a_hospital_outside_is_not_asked_and_trains_nothing(finished: Path) -> None:
    assert [site["name"] for site in status_of(finished)["sites"]] == ["site_1", "site_3"]
    assert not (finished / "sites" / "site_2").exists()
    assert list(reopen(finished).tests) == ["site_1", "site_3"]


def test_a_run_whose_process_ended_before_the_hospitals_outside_is_finished(finished: Path, tmp_path: Path) -> None:
    """Before: such a run was COMPLETED for sweeps and tables, and what it was to show was never measured."""
    cut = Path(shutil.copytree(finished, tmp_path / "cut"))
    (cut / "outside.json").unlink()
    assert completed_run(OUT, "inprocess", cut) == cut
    assert (cut / "outside.json").read_text() == (finished / "outside.json").read_text()


def test_its_patients_are_dealt_to_nobody_else(tmp_path: Path) -> None:
    """Also where the number of hospitals is the study's own and not the user's."""
    overrides = [one for one in OUT if not one.startswith(("partition.sites=", "partition.outside="))]
    overrides += ["partition.outside=[site_4]", "training.rounds=1"]
    folder = run_study(overrides, "inprocess", tmp_path / "run")
    dealt = emulated_cohorts(compose(overrides))
    asked = {site["name"]: site["counts"]["train"]["patients"] for site in status_of(folder)["sites"]}
    assert asked == {name: len(dealt[name].in_split("train").patients()) for name in ("site_1", "site_2", "site_3")}


def test_all_its_patients_are_scored_by_the_released_model(finished: Path) -> None:
    from client.site.scoring import patient_scores
    from common.data.loading import to_tensors

    row = json.loads((finished / "outside.json").read_text())["sites"]["site_2"]
    study = compose(OUT)
    data = to_tensors(emulated_cohorts(study)["site_2"], study.data)
    labels = data.patient_labels().numpy()
    scores = patient_scores(reopen(finished).model(), data)
    assert row["patients"] == len(labels) and row["malignant"] == int(np.sum(labels))
    assert row["federated"]["value"] == pytest.approx(roc_auc_score(labels, scores), abs=0.002)
    assert row["public"] is None and row["difference"] is None and row["verdict"] == "not measured"


def test_the_report_shows_them(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "Hospitals that took no part" in page and "site_2" in page


def test_what_they_gain_over_the_checkpoint_stands_in_the_verdict_and_at_the_terminal(
    finished: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    document = json.loads((folder / "outside.json").read_text())
    area, gain = {"value": 0.7, "low": 0.6, "high": 0.8}, {"value": 0.118, "low": 0.033, "high": 0.204}
    document["sites"]["site_2"] |= {"public": area, "difference": gain, "verdict": "helps"}
    (folder / "outside.json").write_text(json.dumps(document))
    shown = CliRunner().invoke(app, ["report", str(folder), "--json"])
    said = "site_2, which took no part: the federated model against the public checkpoint: better (AUROC +0.118"
    assert said in shown.stderr and said in (folder / "report.html").read_text()
    assert json.loads(shown.stdout)["data"]["outside"]["site_2"]["verdict"] == "helps"


def test_a_hospital_that_is_not_there_is_named_before_anything_starts() -> None:
    study = compose([*QUICK, "partition.outside=[site_9]"])
    with pytest.raises(ConfigError, match="site_9; the hospitals are site_1, site_2, site_3"):
        check_emulation(study)
    assert site_names(compose(OUT)) == ("site_1", "site_3")


def test_a_study_without_a_hospital_is_refused() -> None:
    with pytest.raises(ConfigError, match="every hospital"):
        check_emulation(compose([*QUICK, "partition.outside=[site_1,site_2,site_3]"]))


def test_a_hospital_outside_of_one_class_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no AUROC; a whole run would end in that."""
    from simulations.engine import emulation

    study = compose(OUT)
    dealt = dict(emulated_cohorts(study))
    some = dealt["site_2"]
    benign = tuple(record for record in some.records if not record.label)
    dealt["site_2"] = dataclasses.replace(some, records=benign)
    monkeypatch.setattr(emulation, "emulated_cohorts", lambda study: dealt)
    with pytest.raises(DataError, match="site_2 has patients of one class only"):
        check_emulation(study)


def test_a_model_that_was_not_tried_on_them_says_so(finished: Path, tmp_path: Path) -> None:
    """As after a plain ``flwr run``, whose ServerApp opens no hospital's data."""
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    said = "Hospitals outside: the model was not tried on site_2."
    assert said not in write_run_report(folder).read_text()
    (folder / "outside.json").unlink()
    assert said in write_run_report(folder).read_text()
