"""`oncofed-site ledger` and `oncofed-site privacy` as a privacy officer types them, on a hospital with two studies."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from client.cli.main import app
from simulations.engine.run import run_study

SMALL = ["data.patients=200", "data.image_size=28", "training.rounds=2", "privacy.accountant=rdp",
         "evaluation.local_baseline=false", "evaluation.personal_epochs=0", "simulation.ceiling=30",
         "partition.sites=2", "evaluation.resamples=20", "training.local_steps=1"]  # fmt: skip
ROWS = 11
"""One cohort; of each study what is held, its cohort and two charges; the patients scored in val and in test."""


@pytest.fixture(scope="module")
def two_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of a hospital that took part in two studies on the same patients."""
    folder = tmp_path_factory.mktemp("runs")
    ledgers = f"simulation.ledger_dir={folder / 'ledgers'}"
    run_study([*SMALL, ledgers], "inprocess", folder / "first")
    run_study([*SMALL, ledgers, "privacy.epsilon=3", "name=second"], "inprocess", folder / "second")
    return folder


@pytest.fixture
def site(two_studies: Path) -> Callable[..., Result]:
    """Returns the command line of the second run's site_1, whose ledger holds both studies."""
    home = two_studies / "home"
    if not home.exists():
        home.mkdir()
        for file in (two_studies / "ledgers").glob("site_1*"):
            (home / file.name.replace("site_1", "ledger")).symlink_to(file)
        (home / "studies").mkdir()
        for note in two_studies.glob("*/sites/site_1/studies/*.json"):
            (home / "studies" / note.name).symlink_to(note)
    return lambda *words: CliRunner().invoke(app, [*words])


def report_files(site: Callable[..., Result], two_studies: Path, out: Path) -> list[Path]:
    done = site("privacy", "report", "--home", str(two_studies / "home"), "--out", str(out), "--json")
    assert done.exit_code == 0, done.output
    return [Path(row["path"]) for row in json.loads(done.stdout)["data"]]


def test_reports_of_two_studies_hold_for_a_second_accountant(
    site: Callable[..., Result], two_studies: Path, tmp_path: Path
) -> None:
    files = report_files(site, two_studies, tmp_path / "out")
    statements = sorted((json.loads(file.read_text()) for file in files), key=lambda s: s["epsilon"])
    assert [round(s["target_epsilon"]) for s in statements] == [3, 8]
    lifetimes = {s["lifetime_epsilon"] for s in statements}
    assert len(lifetimes) == 1 and lifetimes.pop() > max(s["epsilon"] for s in statements)
    for file in files:
        key = json.loads(file.read_text())["ledger_key"]
        assert site("privacy", "verify", str(file), "--public-key", key).exit_code == 0
        assert "not a medical device" in file.with_suffix(".html").read_text()


@pytest.mark.parametrize("field", ["epsilon", "lifetime_epsilon", "site", "declared_patients", "clip_norm"])
def test_any_changed_field_breaks_the_signature(
    field: str, site: Callable[..., Result], two_studies: Path, tmp_path: Path
) -> None:
    file = report_files(site, two_studies, tmp_path)[0]
    statement = json.loads(file.read_text())
    statement[field] = "x" if field == "site" else statement[field] * 0.9
    file.write_text(json.dumps(statement))
    done = site("privacy", "verify", str(file))
    assert done.exit_code == 5 and "changed after" in done.output


def test_a_report_under_another_key_is_refused(site: Callable[..., Result], two_studies: Path, tmp_path: Path) -> None:
    file = report_files(site, two_studies, tmp_path)[0]
    done = site("privacy", "verify", str(file), "--public-key", "00" * 32)
    assert done.exit_code == 5 and "not this site's" in " ".join(done.output.split())


def test_an_unsigned_report_and_a_missing_ledger_are_said(
    site: Callable[..., Result], two_studies: Path, tmp_path: Path
) -> None:
    file = report_files(site, two_studies, tmp_path)[0]
    statement = json.loads(file.read_text())
    del statement["signature"]
    file.write_text(json.dumps(statement))
    assert site("privacy", "verify", str(file)).exit_code == 5
    assert site("ledger", "verify", "--home", str(tmp_path / "nowhere")).exit_code == 4
    assert not (tmp_path / "nowhere").exists()


def test_verify_names_the_first_bad_row(site: Callable[..., Result], two_studies: Path, tmp_path: Path) -> None:
    home = shutil.copytree(two_studies / "home", tmp_path / "home")
    words = ["ledger", "verify", "--home", str(home), "--json"]
    assert json.loads(site(*words).stdout)["data"]["rows"] == ROWS
    with sqlite3.connect(home / "ledger.sqlite") as db:
        db.execute("DROP TRIGGER no_update")
        charged = db.execute("SELECT min(seq) FROM rows WHERE body LIKE '%\"round\":1%'").fetchone()[0]
        db.execute("UPDATE rows SET body = replace(body, '\"round\":1', '\"round\":7') WHERE seq = ?", (charged,))
    db.close()
    done = site(*words)
    assert done.exit_code == 5 and f"Row {charged}" in done.output


def test_a_changed_note_of_a_study_is_refused(site: Callable[..., Result], two_studies: Path, tmp_path: Path) -> None:
    home = shutil.copytree(two_studies / "home", tmp_path / "home")
    note = min((home / "studies").glob("*.json"))
    note.write_text(note.read_text().replace('"clip_norm": 1.0', '"clip_norm": 0.1'))
    done = site("privacy", "report", "--home", str(home), "--out", str(tmp_path / "out"))
    assert done.exit_code == 5 and "was changed" in done.output


def test_the_ledger_shows_what_each_study_spent(site: Callable[..., Result], two_studies: Path) -> None:
    shown = json.loads(site("ledger", "show", "--home", str(two_studies / "home"), "--json").stdout)["data"]
    assert [row["round_index"] for row in shown["charges"]] == [1, 2, 1, 2]
    assert [round(row["epsilon"]) for row in shown["spent"]] == [8, 3]
    assert shown["spent"][0]["lifetime_epsilon"] == shown["spent"][1]["lifetime_epsilon"] > 8
    said = site("ledger", "show", "--home", str(two_studies / "home")).stderr
    assert "epsilon 7.9" in said or "epsilon 8.0" in said


def test_the_statements_in_a_run_can_be_verified(site: Callable[..., Result], two_studies: Path) -> None:
    done = site("privacy", "verify", str(two_studies / "second" / "privacy" / "site_1.json"), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["data"]
    assert found["ledger_rows"] == ROWS and found["claimed"] >= found["independent"]


def test_a_forecast_counts_what_the_ledger_charged(site: Callable[..., Result], two_studies: Path) -> None:
    """The second study on top of the first: its rounds are done, and a third study would start from both."""
    home, study = two_studies / "home", two_studies / "second" / "study.yaml"
    declared = json.loads((study.parent / "privacy" / "site_1.json").read_text())["declared_patients"]
    words = ["privacy", "forecast", "--home", str(home), "--patients", str(declared), "--json"]
    found = json.loads(site(*words, "--study", str(study)).stdout)["data"]
    assert found["rounds_done"] == 2 and found["refused_round"] is None
    assert found["lifetime_at_end"] == found["lifetime_spent"] > found["epsilon_at_end"]
    third = home / "third.yaml"
    third.write_text(study.read_text().replace("name: second", "name: third"), encoding="utf-8")
    limit = str(found["lifetime_spent"] + 0.1)
    next_one = json.loads(site(*words, "--study", str(third), "--ceiling", limit).stdout)["data"]
    assert next_one["rounds_done"] == 0 and next_one["refused_round"] == 1
    assert next_one["lifetime_at_end"] > found["lifetime_spent"]


def test_a_forecast_names_the_round_that_would_be_refused(two_studies: Path) -> None:
    nowhere = ["--home", str(two_studies / "nowhere"), "--json"]
    words = ["privacy", "forecast", "--study", str(two_studies / "first" / "study.yaml"), *nowhere]
    found = json.loads(CliRunner().invoke(app, [*words, "--patients", "200", "--ceiling", "6"]).stdout)["data"]
    assert found["refused_round"] == 2 and found["epsilon_at_end"] == pytest.approx(8, abs=0.05)
    assert found["refused_at_once"] and "refused at once" in found["text"]
    fewer = json.loads(CliRunner().invoke(app, [*words, "--patients", "100"]).stdout)["data"]
    assert fewer["refused_round"] is None and fewer["noise_to_signal"] > found["noise_to_signal"]
