"""A model's life at a department, as its people type it: shadow, two signatures, a new scanner, suspended, back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from client.cli.main import app
from client.site.monitor.look import monitor
from common.errors import ConfigError, TrustError
from common.inference.record import records
from simulations.analysis.drift.exams import BEFORE, CHANGES
from simulations.analysis.packaged import package_run
from simulations.engine.run import run_study
from tests.client.simulated import keep, simulated_records, write_csv

STUDY = ["data.patients=120", "data.image_size=32", "model.width=4", "training.rounds=1", "training.batch_patients=20",
         "evaluation.local_baseline=false", "evaluation.bins=256", "partition.sites=2", "privacy=none"]  # fmt: skip
NOW = datetime.now(UTC).replace(hour=12)
GATE = "change: architecture\nsensitivity: 0.8\n"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("packages")
    run = run_study(STUDY, "inprocess", folder / "run")
    return [package_run(run, folder / f"p{days}", days).folder for days in (300, 400)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / "monitor").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def type_(home: Path) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(app, [*words, "--home", str(home)])


def told(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def in_use(type_: Callable[..., Result], home: Path, source: Path) -> str:
    """Returns the digest of a package that was tried in shadow and put into use by two people."""
    digest = told(type_("model", "add", str(source)))
    keys = [CliRunner().invoke(app, ["model", "key", str(home / f"{n}.key")]).stdout.strip() for n in ("anna", "ben")]
    (home / "people.yaml").write_text(f'anna: "{keys[0]}"\nben: "{keys[1]}"\n')
    (home / "gate.yaml").write_text(GATE)
    told(type_("model", "shadow", digest[:8], "--gate", str(home / "gate.yaml")))
    found, labels = simulated_records(BEFORE, 200, NOW, digest, 1, state="none", made=NOW)
    keep(home / "records.jsonl", found)
    csv = write_csv(home / "l.csv", [(exam, bad, str(NOW.date())) for exam, bad, _ in labels], NOW)
    told(type_("monitor", "labels", str(csv)))
    signed(type_, home, told(type_("model", "activate", digest[:8])))
    return digest


def signed(type_: Callable[..., Result], home: Path, proposal: str) -> None:
    for name in ("anna", "ben"):
        told(type_("model", "agree", proposal[:12], "--name", name, "--key", str(home / f"{name}.key")))


def test_a_new_scanner_is_seen_the_model_is_lowered_step_by_step_and_people_go_back(
    type_: Callable[..., Result], home: Path, packages: list[Path]
) -> None:
    first = in_use(type_, home, packages[0])
    with pytest.raises(ConfigError, match="No model"):
        monitor(home / "nowhere", NOW)
    quiet, _ = simulated_records(BEFORE, 240, NOW + timedelta(days=1), first, 2)
    keep(home / "records.jsonl", quiet)
    (home / "monitor" / "monitor.yaml").write_text("longest_label_silence: 365\n")
    freeze = type_("monitor", "re-reference", "--first", f"{NOW.date()}", "--last",
                   f"{(NOW + timedelta(days=60)).date()}")  # fmt: skip
    signed(type_, home, told(freeze))
    start = NOW + timedelta(days=64)
    steady, _ = simulated_records(BEFORE, 160, start, first, 3)
    keep(home / "records.jsonl", steady)
    look = monitor(home, start + timedelta(days=28))
    assert (look["state"], look["alarms"], look["moved"]) == ("active", 0, None), look["streams"]
    changed, _ = simulated_records(CHANGES["scanner"], 160, start + timedelta(days=28), first, 4)
    keep(home / "records.jsonl", changed)
    look = monitor(home, start + timedelta(days=56))
    assert look["state"] == "watch" and look["moved"]["cause"] == "alarm"
    assert {"contrast", "device"} <= {alarm["measure"] for alarm in look["streams"][0]["alarms"]}
    assert monitor(home, start + timedelta(days=56))["state"] == "watch"  # the same alarms move nothing again
    look = monitor(home, start + timedelta(days=100))  # and then nothing came
    assert look["state"] == "suspended" and any(a["measure"] == "silence" for a in look["streams"][0]["alarms"])
    signed(type_, home, told(type_("model", "activate", first[:8], "--why", "scanner was mended")))
    history = json.loads(told(type_("model", "history", "--json")))["data"]["moves"]
    assert [move["to"] for move in history] == ["shadow", "active", "watch", "suspended", "active"]
    assert history[-1]["by"] == ["anna", "ben"] and history[-1]["cause"] == "appeal"


def test_a_challenger_replaces_the_active_one_and_a_rollback_brings_it_back(
    type_: Callable[..., Result], home: Path, packages: list[Path]
) -> None:
    first = in_use(type_, home, packages[0])
    second = told(type_("model", "add", str(packages[1])))
    (home / "second.yaml").write_text("change: threshold\nsensitivity: 0.8\n")
    told(type_("model", "shadow", second[:8], "--gate", str(home / "second.yaml")))
    assert type_("model", "activate", second[:8]).exit_code == TrustError.exit_code  # nothing was measured yet
    ours, labels = simulated_records(BEFORE, 200, NOW, first, 7, made=NOW)
    theirs, _ = simulated_records(BEFORE, 200, NOW, second, 7, state="shadow", made=NOW)
    keep(home / "records.jsonl", [*ours, *theirs])
    csv = write_csv(home / "l.csv", [(exam, bad, str(NOW.date())) for exam, bad, _ in labels], NOW)
    told(type_("monitor", "labels", str(csv)))
    trial = json.loads(told(type_("model", "trial", "--json")))["data"]
    assert trial["passed"] and trial["pairs"]["pairs"] == 200 and trial["pairs"]["discordant"] == 0
    stale = told(type_("model", "activate", second[:8]))
    signed(type_, home, told(type_("model", "activate", second[:8], "--why", "again")))
    late = type_("model", "agree", stale[:12], "--name", "anna", "--key", str(home / "anna.key"))
    assert late.exit_code == 0
    late = type_("model", "agree", stale[:12], "--name", "ben", "--key", str(home / "ben.key"))
    assert late.exit_code == TrustError.exit_code  # models were moved since it was proposed
    signed(type_, home, told(type_("model", "activate", first[:8], "--why", "the old one was better")))
    moves = json.loads(told(type_("model", "history", "--json")))["data"]["moves"]
    assert [(move["package"], move["to"], move["cause"]) for move in moves[-2:]] == [
        (second, "retired", "replaced"), (first, "active", "rollback"),
    ]  # fmt: skip
    exams = json.loads(told(type_("monitor", "affected", "--release", second[:8], "--json")))["data"]["exams"]
    assert {row["exam"] for row in exams} == {one.exam for one in theirs}


def test_expired_validation_suspends(type_: Callable[..., Result], home: Path, packages: list[Path]) -> None:
    first = in_use(type_, home, packages[0])
    look = monitor(home, NOW + timedelta(days=301))
    assert (look["state"], look["moved"]["cause"], look["model"]) == ("suspended", "expired", first)


def test_one_look_by_the_command_writes_a_page_and_says_what_it_did(
    type_: Callable[..., Result], home: Path, packages: list[Path]
) -> None:
    first = in_use(type_, home, packages[0])
    page = home / "page.html"
    document = json.loads(told(type_("monitor", "--json", "--page", str(page))))["data"]
    assert document["model"] == first and document["state"] == "active" and document["labels"] > 0
    text = page.read_text()
    assert "Research use only" in text and first[:16] in text and "http" not in text.replace("http-equiv", "")
    assert "Not tested: no reference is frozen" in told(type_("monitor"))
    assert len(records(home / "records.jsonl").records) == 200
