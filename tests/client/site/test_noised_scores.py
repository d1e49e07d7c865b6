"""Score counts with noise, at a site and in a whole run: charged before they leave, once, and within a ceiling."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from client.cli.main import app
from client.site.cohort_notes import note_scored
from client.site.hospital import Site
from client.site.policy import SitePolicy
from common.config.study import StudyConfig, compose
from common.errors import BudgetExceeded, ConfigError
from common.evaluation.scores import ScoreState
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy.backup import Since, read_backup, restore, write_backup
from common.privacy.evaluation_account import CHARGE, epsilon_of_rho, rho_of
from common.privacy.ledger import Ledger
from common.privacy.randomness import Randomness
from common.privacy.verification import check_consistency
from common.protocol.messages import Request
from common.reporting.privacy_report import render
from simulations.engine.emulation import build_site, site_names
from tests.scenarios.conftest import Federation, federation

__all__ = ["federation"]
NOISED = ("evaluation.noise=4", "evaluation.local_baseline=false")
SMALL = ("experiment=wdbc_eps2", "training.rounds=4", "training.local_steps=1", "privacy.accountant=rdp")
STUDY = compose([*SMALL, *NOISED])
EXACT = compose([*SMALL, "name=exact"])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A hospital of public patients with noise that cannot be repeated, and an evaluation ceiling of 4."""
    found = build_site(STUDY, site_names(STUDY)[0], tmp_path)
    policy = dataclasses.replace(found.policy, evaluation_ceiling=4.0, after_unbounded="refuse")
    return dataclasses.replace(found, policy=policy, randomness=lambda purpose, index: Randomness.from_entropy())


def ask(site: Site, study: StudyConfig, purpose: Any, round_index: int = 1, seed: int = 0, **fields: Any) -> Any:
    arrays: Mapping[str, Any] = {}
    if purpose in ("train", "evaluate"):
        shape = tuple(site.cohort.load(study, "train").inputs.shape[1:])
        arrays = trainable_state(build_model(study.model, shape, seed))
    request = Request(purpose=purpose, study=study, run="aa", round_index=round_index, arrays=arrays, **fields)
    return getattr(site, purpose)(request)


def charges(site: Site) -> list[dict[str, Any]]:
    with Ledger(site.ledger_path) as ledger:
        return [row for row in ledger.rows() if row["kind"] == CHARGE]


def test_what_leaves_is_noised_and_charged(site: Site) -> None:
    told = ScoreState.from_json(ask(site, STUDY, "evaluate", split="val").document, STUDY.evaluation.bins)
    exact = site.cohort.load(STUDY, "val").patient_labels().numpy()
    again = ScoreState.from_json(ask(site, STUDY, "evaluate", 2, 1, split="val").document, STUDY.evaluation.bins)
    assert (told.malignant, told.benign) != (int(exact.sum()), int((1 - exact).sum())) or told != again
    assert [(row["split"], row["round"], row["deviation"]) for row in charges(site)] == [("val", 1, 4), ("val", 2, 4)]


def test_the_same_question_has_the_same_answer_and_costs_once(site: Site) -> None:
    first, again = (ask(site, STUDY, "evaluate", split="val").document for _ in range(2))
    assert first == again
    assert len(charges(site)) == 1


def test_a_study_that_the_account_cannot_pay_to_its_end_is_refused_at_once(site: Site) -> None:
    policy = dataclasses.replace(site.policy, evaluation_ceiling=epsilon_of_rho(3.5 * rho_of(4), 1e-5))
    poor = dataclasses.replace(site, policy=policy)
    with pytest.raises(BudgetExceeded, match="evaluation_ceiling"):
        ask(poor, STUDY, "enrol")
    assert ask(site, STUDY, "enrol").site == site.name


def test_a_closed_policy_has_no_evaluation_budget(site: Site) -> None:
    assert SitePolicy().evaluation_ceiling == 0.0
    closed = dataclasses.replace(site, policy=dataclasses.replace(site.policy, evaluation_ceiling=0.0))
    with pytest.raises(BudgetExceeded):
        ask(closed, STUDY, "evaluate", split="val")
    assert charges(closed) == []


def test_no_exact_count_stands_beside_noised_ones(site: Site) -> None:
    assert all(count is None for row in ask(site, STUDY, "enrol").counts.values() for count in row.values())


def test_patients_who_were_counted_without_noise_are_not_counted_with_it(site: Site) -> None:
    ask(site, EXACT, "evaluate", split="val")
    with pytest.raises(BudgetExceeded, match="without noise"):
        ask(site, STUDY, "evaluate", split="val")


def test_nor_are_those_whom_an_enrolment_counted_without_noise(site: Site) -> None:
    """A card tells exactly how many there are; before, the account said a bound of them all the same."""
    assert ask(site, EXACT, "enrol").counts["val"]["malignant"] is not None
    with pytest.raises(BudgetExceeded, match="without noise"):
        ask(site, STUDY, "evaluate", split="val")


def test_a_card_beside_noised_counts_is_in_their_account(site: Site) -> None:
    ask(site, STUDY, "evaluate", split="val")
    ask(site, EXACT, "enrol")
    assert ask(site, STUDY, "statement").document["evaluation_account"]["lifetime_epsilon"] == "unbounded"


def test_patients_who_were_counted_with_noise_and_then_without_have_no_bound(site: Site) -> None:
    ask(site, STUDY, "evaluate", split="val")
    note_scored(site, EXACT.digest(), "val")
    said = ask(site, STUDY, "statement").document["evaluation_account"]
    assert said["lifetime_epsilon"] == "unbounded"
    assert said["epsilon"] == pytest.approx(epsilon_of_rho(rho_of(4), said["delta"]))


def test_the_site_s_own_models_leave_no_exact_figures_beside_noised_counts() -> None:
    with pytest.raises(ConfigError, match="local_baseline=false"):
        compose([*SMALL, "evaluation.noise=4"])


def test_a_run_with_noise_ends_and_says_what_it_cost(federation: Federation) -> None:
    run = federation.run("evaluation.noise=1 evaluation.local_baseline=false")
    assert run["status"] == "COMPLETED", run
    assert federation.read("evaluation.json")["score_noise"] == 1
    assert not any("exact" in line for line in run["not_covered"])
    federated = federation.read("evaluation.json")["models"]["federated"]
    assert all(block["auroc"]["binning_error"] is None for block in (federated["pooled"], *federated["sites"].values()))
    assert "with noise on each" in (federation.folder / "report.html").read_text()
    for name in (site["name"] for site in run["sites"]):
        said = federation.read(f"privacy/{name}.json")
        check_consistency(said)
        account = said["evaluation_account"]
        assert account["releases"] == {"val": 2, "test": 1}
        assert account["epsilon"] == pytest.approx(epsilon_of_rho(2 * rho_of(1), account["delta"]))
        assert f"epsilon {account['epsilon']:.4f} for a validation or test patient" in render(said)


def test_a_statement_that_tells_less_than_the_releases_cost_is_noticed(site: Site) -> None:
    ask(site, STUDY, "evaluate", split="val")
    said = ask(site, STUDY, "statement").document
    less = said | {"evaluation_account": said["evaluation_account"] | {"epsilon": 0.1}}
    check_consistency(said)
    assert math.isfinite(said["evaluation_account"]["epsilon"])
    with pytest.raises(Exception, match="evaluation_account"):
        check_consistency(less)


def test_the_ledger_shows_what_noised_counts_cost(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    ask(site, STUDY, "evaluate", split="val")
    assert site.ledger_path.parent == site.home
    shown = CliRunner().invoke(app, ["ledger", "show", "--home", str(site.home), "--json"])
    (found,) = json.loads(shown.stdout)["data"]["evaluation"]
    assert (found["study"], found["noise"], found["releases"]) == (STUDY.digest(), 4, {"val": 1, "test": 0})
    words = CliRunner().invoke(app, ["ledger", "show", "--home", str(site.home)]).output
    assert f"epsilon {found['epsilon']:.3f} of a validation or test patient" in words


def test_a_restored_account_has_no_bound_for_whoever_was_counted(site: Site, tmp_path: Path) -> None:
    ask(site, STUDY, "evaluate", split="val")
    with Ledger(site.ledger_path) as ledger:
        write_backup(ledger, tmp_path / "backup.json")
    ask(site, STUDY, "evaluate", 2, 1, split="val")
    site.ledger_path.with_name(site.ledger_path.name + ".head").unlink()
    site.ledger_path.unlink()
    restore(site.ledger_path, read_backup(tmp_path / "backup.json"), Since(unbounded=True))
    assert ask(site, STUDY, "statement").document["evaluation_account"]["lifetime_epsilon"] == "unbounded"
    with pytest.raises(BudgetExceeded, match="without noise"):
        ask(site, STUDY, "evaluate", 3, 2, split="val")


def test_the_test_is_one_question_whatever_round_the_hub_names(site: Site) -> None:
    """Before: each round that a hub named beside the same weights had the counts again, with other noise."""
    ask(site, STUDY, "evaluate", split="val")
    answers = [ask(site, STUDY, "evaluate", index, split="test").document for index in range(4)]
    assert all(answer == answers[0] for answer in answers)
    assert [row["split"] for row in charges(site)] == ["val", "test"]
