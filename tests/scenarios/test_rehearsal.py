"""A rehearsal asks every site for everything, and leaves the patients' account and the site's memory as they were."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.privacy.ledger import Ledger
from tests.scenarios.conftest import Federation


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
        with Ledger(site / "ledger.sqlite") as ledger:
            assert ledger.charges() == ()
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
