"""A hub with a register names a site whose ledger went back, and keeps it out until a person has accepted it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli.main import app
from server.hub.home import HubConfig, HubHome, create
from server.run import federation as federation_module
from server.run.enrolment import site_heads
from server.run.heads import FILE, Heads
from tests.scenarios.conftest import Federation

SHORT = "training.rounds=1 evaluation.local_baseline=false evaluation.personal_epochs=0 evaluation.resamples=20"


@pytest.fixture
def heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Heads:
    """Heads beside a register that knows no site, as no node of the simulator has one."""
    kept = Heads(tmp_path / FILE)
    monkeypatch.setattr("server.run.enrolment.site_heads", lambda: kept)
    monkeypatch.setattr(federation_module, "site_heads", lambda: kept)
    return kept


def test_a_site_whose_ledger_went_back_is_named_and_then_kept_out(heads: Heads, tmp_path: Path) -> None:
    ledgers = tmp_path / "ledgers"
    common = f"{SHORT} simulation.ledger_dir={ledgers} strategy.quorum=1 simulation.ceiling=100"
    assert Federation(tmp_path / "first").run(common)["status"] == "COMPLETED"
    old = tmp_path / "old"
    shutil.copytree(ledgers, old)
    assert Federation(tmp_path / "second").run(f"{common} name=second")["status"] == "COMPLETED"
    for file in old.glob("site_2.sqlite*"):
        shutil.copy(file, ledgers)
    third = Federation(tmp_path / "third").run(f"{common} name=third")
    assert third["status"] == "PARTIAL" and third["reason"] == "lost: site_2 (ledger-went-back)"
    assert {name: head.problem for name, head in heads.all().items()} == {
        "site_1": "", "site_2": "forked", "site_3": ""}  # fmt: skip
    fourth = Federation(tmp_path / "fourth").run(f"{common} name=fourth")
    assert "site_2 (ledger-went-back)" in fourth["reason"]
    assert "site_2" not in Federation(tmp_path / "fourth").rounds()[0]["joined"]
    heads.accept("site_2")
    assert Federation(tmp_path / "fifth").run(f"{common} name=fifth")["status"] == "COMPLETED"


def test_without_a_register_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONCOFED_HUB_SITES", raising=False)
    assert site_heads() is None


def test_the_operator_sees_the_heads_and_accepts_a_ledger(tmp_path: Path) -> None:
    home = HubHome(tmp_path / "hub")
    create(home, HubConfig())
    row = {"key": "ab" * 32, "seq": 7, "digest": "cd" * 32, "time": "2026-11-27T00:00:00+00:00", "problem": "forked"}
    (home.path / FILE).write_text(json.dumps({"schema_version": 1, "sites": {"north": row}}))
    hub = ["--home", str(home.path)]
    shown = CliRunner().invoke(app, ["heads", *hub])
    assert shown.exit_code == 0 and json.loads(shown.stdout)["sites"] == {"north": row}
    assert "NOT BELIEVED" in shown.stderr
    assert CliRunner().invoke(app, ["heads", "--accept", "north", *hub]).exit_code == 0
    assert Heads(home.path / FILE).all() == {}
    assert "accept-ledger" in (home.path / "journal.jsonl").read_text()
