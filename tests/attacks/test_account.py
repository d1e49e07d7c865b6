"""Attacks on the account of privacy spent: each left something out of it, and none does any more."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from client.site.cohort_notes import agree
from client.site.hospital import Site
from client.site.policy import SitePolicy
from common.config.study import StudyConfig, compose
from common.errors import BudgetExceeded, DataError, LedgerError
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy import notes
from common.privacy.ledger import Ledger
from common.privacy.pricing import most_charges, promises_in
from common.privacy.randomness import Randomness
from common.privacy.verification import verify_statement
from common.protocol.messages import Request
from simulations.engine.emulation import build_site, site_names

SMALL = ("experiment=wdbc_eps2", "training.rounds=6", "training.local_steps=1", "privacy.accountant=rdp",
         "simulation.ceiling=2.5")  # fmt: skip
PRIVATE = compose([*SMALL])
OPEN = compose([*SMALL, "privacy=none", "name=open"])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    found = build_site(PRIVATE, site_names(PRIVATE)[0], tmp_path)
    return dataclasses.replace(found, policy=dataclasses.replace(found.policy, after_unbounded="refuse"))


def weights(site: Site, study: StudyConfig = PRIVATE) -> Mapping[str, Any]:
    shape = tuple(site.cohort.load(study, "train").inputs.shape[1:])
    return trainable_state(build_model(study.model, shape, study.seed))


def ask(site: Site, study: StudyConfig, purpose: Any, round_index: int = 1, run: str = "aa", **fields: Any) -> Any:
    arrays = weights(site, study) if purpose in ("train", "evaluate") else {}
    request = Request(purpose=purpose, study=study, run=run, round_index=round_index, arrays=arrays, **fields)
    return getattr(site, purpose)(request)


def stated(site: Site, study: StudyConfig = PRIVATE) -> Mapping[str, Any]:
    return dict(ask(site, study, "statement", 0).document)


def lifetime(site: Site) -> float:
    with Ledger(site.ledger_path) as ledger:
        return ledger.spent(ledger.register_cohort(site.cohort.train_patients), 1e-5, "rdp")


def held(site: Site) -> list[str]:
    if not site.ledger_path.exists():
        return []
    with Ledger(site.ledger_path) as ledger:
        return [promise.study for promise in promises_in(ledger.rows())]


class TestWithoutPrivacy:
    """Before: a study without privacy left no row, and 9.54 remained of the budget."""

    def test_it_makes_the_lifetime_unbounded_before_the_first_gradient(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask(site, PRIVATE, "train")
        monkeypatch.setattr("common.training.loop.train", lambda *_, **__: pytest.fail("the crash"))
        with pytest.raises(pytest.fail.Exception):
            ask(site, OPEN, "train", run="bb")
        assert lifetime(site) == math.inf

    def test_statements_of_both_studies_say_so(self, site: Site) -> None:
        ask(site, PRIVATE, "train")
        before = stated(site)
        ask(site, OPEN, "train", run="bb")
        for study in (PRIVATE, OPEN):
            said = stated(site, study)
            assert (said["lifetime_epsilon"], said["unbounded_runs"]) == ("unbounded", 1)
            assert json.loads(json.dumps(said, allow_nan=False)) == said and said["signature"]
        after = stated(site)
        assert before["remaining"] > 0 and after["remaining"] == 0
        assert after["epsilon"] == before["epsilon"] and "without privacy" in after["lifetime_in_words"]

    def test_later_private_studies_are_refused_unless_the_policy_says_otherwise(self, site: Site) -> None:
        ask(site, OPEN, "train", run="bb")
        for purpose in ("enrol", "train"):
            with pytest.raises(BudgetExceeded, match="unbounded"):
                ask(site, PRIVATE, purpose)
        allowing = dataclasses.replace(site, policy=dataclasses.replace(site.policy, after_unbounded="allow"))
        ask(allowing, PRIVATE, "enrol")
        assert ask(allowing, PRIVATE, "train").epsilon_spent > 0
        assert stated(allowing)["lifetime_epsilon"] == "unbounded"

    def test_the_default_policy_refuses(self) -> None:
        assert SitePolicy().after_unbounded == "refuse"

    def test_a_run_is_noted_once(self, site: Site) -> None:
        for round_index in (1, 2, 3):
            ask(site, OPEN, "train", round_index)
        ask(site, OPEN, "train", run="cc")
        assert stated(site, OPEN)["unbounded_runs"] == 2


class TestRounds:
    """Before: a study agreed at epsilon 2 went to 4.4 in 120 rounds."""

    def test_a_study_is_charged_its_rounds_and_a_few_for_crashes_whatever_the_ceiling(self, site: Site) -> None:
        rich = dataclasses.replace(site, policy=SitePolicy.emulated(1000.0))
        most = most_charges(PRIVATE.training.rounds)
        for number in range(most):
            ask(rich, PRIVATE, "train", run=f"{number:x}")
        with pytest.raises(BudgetExceeded, match=f"charged {most} times"):
            ask(rich, PRIVATE, "train", run="ff")
        said = stated(rich)
        assert said["rounds"] == said["charges_allowed"] == most == 8

    def test_another_run_of_a_whole_study_is_another_agreement(self, site: Site) -> None:
        rich = dataclasses.replace(site, policy=SitePolicy.emulated(1000.0))
        for round_index in range(1, PRIVATE.training.rounds + 1):
            ask(rich, PRIVATE, "train", round_index)
        ask(rich, PRIVATE, "enrol", run="aa")  # the run that has paid goes on
        with pytest.raises(BudgetExceeded, match="under another name"):
            ask(rich, PRIVATE, "enrol", run="bb")
        ask(rich, dataclasses.replace(PRIVATE, name="again"), "enrol", run="bb")


class TestReservation:
    """Before: two studies at once both passed the check, and one was stopped in the middle."""

    @pytest.fixture
    def other(self) -> StudyConfig:
        return dataclasses.replace(PRIVATE, name="other")

    def test_a_study_that_the_site_refuses_holds_nothing(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """Before, one without a certificate, or a model that cannot train, blocked the next study until released."""
        uncertified = compose([*SMALL, "strategy.require_readiness=true", "name=uncertified"])
        with pytest.raises(DataError, match="certificate"):
            ask(site, uncertified, "enrol", run="bb")
        with monkeypatch.context() as patch:
            patch.setattr("common.privacy.preflight.check_private_step", lambda *_: pytest.fail("unfit"))
            with pytest.raises(pytest.fail.Exception):
                ask(site, dataclasses.replace(PRIVATE, name="unfit"), "enrol", run="cc")
        assert not held(site)
        ask(site, PRIVATE, "enrol")
        assert held(site) == [PRIVATE.digest()]

    def test_two_studies_that_fit_only_one_by_one_are_not_both_accepted(self, site: Site, other: StudyConfig) -> None:
        ask(site, PRIVATE, "enrol")
        with pytest.raises(BudgetExceeded, match="held for studies that were accepted"):
            ask(site, other, "enrol", run="bb")

    def test_who_did_not_enrol_cannot_take_what_is_held(self, site: Site, other: StudyConfig) -> None:
        ask(site, PRIVATE, "enrol")
        with pytest.raises(BudgetExceeded):
            for round_index in range(1, 7):
                ask(site, other, "train", round_index, run="bb")
        for round_index in range(1, 7):
            ask(site, PRIVATE, "train", round_index)
        assert stated(site)["rounds"] == 6

    def test_it_ends_with_the_last_round_and_with_a_release(self, site: Site, other: StudyConfig) -> None:
        wide = dataclasses.replace(site, policy=SitePolicy.emulated(3.2))
        ask(wide, PRIVATE, "enrol")
        for round_index in range(1, 7):
            ask(wide, PRIVATE, "train", round_index)
        ask(wide, other, "enrol", run="bb")  # nothing of the first is held twice
        third = dataclasses.replace(PRIVATE, name="third")
        with pytest.raises(BudgetExceeded):
            ask(wide, third, "enrol", run="cc")
        with Ledger(wide.ledger_path) as ledger:
            ledger.note(lambda rows: notes.release(rows, other.digest()))
        ask(wide, third, "enrol", run="cc")

    def test_asking_again_holds_nothing_more(self, site: Site) -> None:
        for run in ("aa", "aa", "bb"):
            ask(site, PRIVATE, "enrol", run=run)
        with Ledger(site.ledger_path) as ledger:
            assert [row["kind"] for row in ledger.rows()] == ["scored", "scored", "cohort", "reserve"]


class TestCohort:
    """Before: patients and labels could be changed in the middle of a study, and nothing told."""

    def test_another_label_patient_or_split_stops_the_study_until_it_is_agreed(self, site: Site) -> None:
        ask(site, PRIVATE, "train")
        name = site.cohort.train_patients[0]
        members = dict(site.cohort.members)
        split, label = members[name]
        for changed in (
            members | {name: (split, 1 - label)},
            {key: value for key, value in members.items() if key != name},
            members | {"a new patient": ("test", 1)},
        ):
            moved = dataclasses.replace(site, cohort=dataclasses.replace(site.cohort, members=changed))
            with pytest.raises(DataError, match="oncofed-site study agree"):
                ask(moved, PRIVATE, "train", 2)
            with pytest.raises(DataError, match="oncofed-site study agree"):
                ask(moved, PRIVATE, "evaluate", 1, split="val")
        relabelled = dataclasses.replace(
            site, cohort=dataclasses.replace(site.cohort, members=members | {name: (split, 1 - label)})
        )
        assert agree(relabelled, PRIVATE.digest()) and not agree(relabelled, PRIVATE.digest())
        ask(relabelled, PRIVATE, "train", 2)
        assert stated(relabelled)["cohort_changes"] == 1 and stated(site)["cohort_changes"] == 1
        with pytest.raises(DataError):
            ask(site, PRIVATE, "train", 3)

    def test_the_order_of_the_manifest_is_no_change(self, site: Site) -> None:
        ask(site, PRIVATE, "train")
        members = dict(reversed(site.cohort.members.items()))
        ask(dataclasses.replace(site, cohort=dataclasses.replace(site.cohort, members=members)), PRIVATE, "train", 2)

    def test_nothing_of_it_is_in_the_statement_in_the_clear(self, site: Site) -> None:
        ask(site, PRIVATE, "train")
        ask(site, PRIVATE, "evaluate", 1, split="val")
        told = json.dumps(stated(site))
        with Ledger(site.ledger_path) as ledger:
            hidden = [row["members"] for row in ledger.rows() if row["kind"] == "manifest"]
            hidden += [one for row in ledger.rows() if row["kind"] == "scored" for one in row["patients"]]
        assert hidden and not any(secret in told for secret in hidden)


class TestSides:
    """Before: a patient tested in one study could be trained on in the next, and no figure told."""

    def swapped(self, site: Site) -> Site:
        """The same patients, with one of validation and one of training in each other's place."""
        members = dict(site.cohort.members)
        trained = site.cohort.train_patients[0]
        scored = next(name for name, (split, _) in members.items() if split == "val")
        members[trained], members[scored] = ("val", members[trained][1]), ("train", members[scored][1])
        train = tuple(name for name, (split, _) in members.items() if split == "train")
        return dataclasses.replace(site, cohort=dataclasses.replace(site.cohort, members=members, train_patients=train))

    def test_a_patient_whose_scores_left_is_not_trained_on(self, site: Site) -> None:
        ask(site, PRIVATE, "evaluate", 1, split="val")
        with pytest.raises(DataError, match="1 training patients were validated or tested on before"):
            ask(self.swapped(site), dataclasses.replace(PRIVATE, name="next"), "train", run="bb")

    def test_a_patient_who_was_trained_on_is_not_scored(self, site: Site) -> None:
        ask(site, PRIVATE, "train")
        with pytest.raises(DataError, match="1 patients of validation and test were trained on before"):
            ask(self.swapped(site), dataclasses.replace(PRIVATE, name="next"), "evaluate", run="bb", split="val")


class TestCopies:
    """Before: the error texts advised to copy an old ledger back, which forgets what was spent."""

    def test_no_text_advises_to_copy_an_old_file_back(self, site: Site) -> None:
        ask(site, PRIVATE, "train")
        shutil.copy(site.ledger_path, site.home / "old")
        ask(site, PRIVATE, "train", 2)
        shutil.copy(site.home / "old", site.ledger_path)
        with pytest.raises(LedgerError, match=r"oncofed-site ledger restore BACKUP.*Never copy an old file back"):
            stated(site)


class TestAfterwards:
    """Before: a statement told of today's manifest and options, whatever the study was trained on and with."""

    def renamed(self, site: Site) -> Site:
        """The site with new pseudonyms for all of its patients."""
        cohort = dataclasses.replace(
            site.cohort,
            train_patients=tuple(f"new {name}" for name in site.cohort.train_patients),
            members={f"new {name}": place for name, place in site.cohort.members.items()},
        )
        return dataclasses.replace(site, cohort=cohort)

    def test_new_pseudonyms_take_nothing_back(self, site: Site) -> None:
        for round_index in (1, 2):
            ask(site, PRIVATE, "train", round_index)
        before, after = stated(site), stated(self.renamed(site))
        assert before["epsilon"] > 0 and before["cohort_changes"] == 0 and after["cohort_changes"] == 1
        for name in ("epsilon", "rounds", "events", "lifetime_epsilon", "lifetime_events", "remaining"):
            assert after[name] == before[name], name
        verify_statement(after)

    def test_new_pseudonyms_do_not_bound_a_study_without_privacy(self, site: Site) -> None:
        ask(site, OPEN, "train")
        after = stated(self.renamed(site), OPEN)
        assert (after["lifetime_epsilon"], after["unbounded_runs"]) == ("unbounded", 1)

    def test_the_worst_of_two_cohorts_is_told(self, site: Site) -> None:
        for round_index in (1, 2, 3):
            ask(site, PRIVATE, "train", round_index)
        worst, new = stated(site)["epsilon"], self.renamed(site)
        assert agree(new, PRIVATE.digest())
        ask(new, PRIVATE, "train", 4)
        assert stated(new)["epsilon"] == worst and stated(new)["cohort_changes"] == 1
        verify_statement(stated(new))

    @pytest.mark.parametrize("first", [True, False], ids=["from the first round", "from the second"])
    def test_an_option_that_is_gone_again_is_told(self, site: Site, first: bool) -> None:
        plain = dataclasses.replace(site, randomness=lambda purpose, round_index: Randomness.from_entropy())
        plain = dataclasses.replace(plain, cohort=dataclasses.replace(plain.cohort, synthetic=False))
        shown = dataclasses.replace(site, cohort=dataclasses.replace(site.cohort, synthetic=True))
        for round_index in (1, 2) if not first else (2,):
            ask(plain if round_index == 1 else shown, PRIVATE, "train", round_index)
        now = dataclasses.replace(plain, declared_patients=plain.declared_patients + 7)
        told = stated(now)
        assert told["seeded"] and told["synthetic"] and told["declared_patients"] == plain.declared_patients
