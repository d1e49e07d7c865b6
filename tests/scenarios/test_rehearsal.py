"""A rehearsal asks every site for everything, and leaves the patients' account and the site's memory as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from client.site.hospital import Site
from client.site.policy import SitePolicy
from client.site.rehearsal import synthetic_cohort, twin
from common.config.overrides import split_overrides
from common.config.study import compose
from common.errors import TrustError
from common.privacy.ledger import Ledger
from common.privacy.randomness import Randomness
from common.protocol.messages import Request
from tests.scenarios.conftest import QUICK, Federation


@pytest.fixture
def rehearsed(federation: Federation) -> Federation:
    run = federation.run("training.rounds=5", rehearsal=True)
    assert (run["status"], run["reason"]) == ("COMPLETED", "")
    return federation


def sites(federation: Federation) -> list[Any]:
    return sorted((federation.folder / "sites").iterdir())


def test_it_is_one_round_and_leaves_no_model_and_no_report(rehearsed: Federation) -> None:
    run = rehearsed.read("run.json")
    assert run["rehearsal"] is True and run["rounds_done"] == 1 and run["synthetic"] is True
    assert not (rehearsed.folder / "model").exists() and not (rehearsed.folder / "report.html").exists()


def test_nothing_is_charged_and_no_question_is_spent(rehearsed: Federation) -> None:
    for site in sites(rehearsed):
        assert not list(site.glob("ledger*"))
        assert not (site / "questions").exists() and not (site / "studies").exists()
        purposes = [json.loads(line)["purpose"] for line in (site / "egress.jsonl").read_text().splitlines()]
        wanted = ["enrol", "train", "evaluate", "evaluate", "baseline", "statement"]
        assert purposes == [f"rehearsal of {purpose}" for purpose in wanted]


def test_a_site_that_could_not_pay_or_would_refuse_says_so_now(federation: Federation) -> None:
    run = federation.run("+simulation.ceilings.site_2=1.0", rehearsal=True)
    assert run["status"] == "PARTIAL" and run["reason"] == "lost: site_2 (budget-refused)"


def test_it_uses_no_image_of_the_site(rehearsed: Federation) -> None:
    """What the sites trained on was the same everywhere, since the twin's patients are."""
    counts = [site["counts"] for site in rehearsed.read("run.json")["sites"]]
    assert counts[0] == counts[1] == counts[2] and counts[0]["train"]["patients"] == 24


def test_a_ledger_that_exists_is_asked_and_keeps_its_rows(federation: Federation) -> None:
    spent = federation.run("training.rounds=1")
    assert spent["status"] == "COMPLETED"
    before = {site.name: rows(site) for site in sites(federation)}
    (federation.folder / "run.json").unlink()
    run = federation.run(
        "training.rounds=1 name=more simulation.ceiling=100 +simulation.ceilings.site_2=10", rehearsal=True
    )
    assert run["reason"] == "lost: site_2 (budget-refused)", "what it has spent counts"
    assert {site.name: rows(site) for site in sites(federation)} == before


def rows(site: Path) -> list[Any]:
    with Ledger(site / "ledger.sqlite") as ledger:
        return ledger.rows()


def test_the_policy_is_asked_before_the_budget(tmp_path: Path) -> None:
    """A hub whose studies are not allowed learns nothing of what the patients have left."""
    site = Site(
        name="north", declared_patients=100, cohort=synthetic_cohort(), policy=SitePolicy(ceiling=1.0),
        randomness=lambda purpose, round_index: Randomness.from_entropy(), home=tmp_path,
        ledger_path=tmp_path / "ledger.sqlite",
    )  # fmt: skip
    study = compose(split_overrides(f"{QUICK} privacy.epsilon=50"))
    with pytest.raises(TrustError, match="policy refuses"):
        twin(site, Request(purpose="enrol", study=study, run="ab"))
    assert list(tmp_path.iterdir()) == []


def test_a_rehearsal_that_broke_off_starts_afresh(federation: Federation) -> None:
    federation.run("training.rounds=5", rehearsal=True)
    document = federation.read("run.json")
    (federation.folder / "run.json").write_text(json.dumps(document | {"status": "INTERRUPTED"}))
    again = federation.run("training.rounds=5", resume=True)
    assert federation.error is None and (again["status"], again["reason"]) == ("COMPLETED", "")
    assert again["rehearsal"] is True and [row["round"] for row in federation.rounds()] == [1]


def test_a_true_run_is_never_resumed_as_a_rehearsal(federation: Federation) -> None:
    federation.run("training.rounds=1")
    again = federation.run("training.rounds=1", resume=True, rehearsal=True)
    assert again["rehearsal"] is False and (federation.folder / "model").exists()
