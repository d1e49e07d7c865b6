"""A statement says what was guaranteed, and a second accountant finds the same in its events."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import TrustError
from common.privacy.accounting import Event, epsilon_of
from common.privacy.ledger import Ledger
from common.privacy.plan import PrivacyPlan
from common.privacy.statement import Account, plain_words, privacy_statement, recompute, verify_statement

PLAN = PrivacyPlan(
    sampling_rate=0.1, expected_batch_patients=10.0, steps_per_round=10, rounds=3, clip_norm=1.0,
    noise_multiplier=1.5, max_images=8, delta=1e-5, target_epsilon=3.0, accountant="prv", engine="book_keeping",
)  # fmt: skip
FIELDS = {
    "setting", "unit", "neighbouring_relation", "sampling", "mechanism", "clip_norm", "noise_multiplier", "steps",
    "rounds", "accountant", "epsilon", "delta", "cross_check", "noise", "lifetime_epsilon", "lifetime_events",
    "ceiling", "remaining", "by_round", "events", "released", "not_covered", "randomness", "overlap", "plain_words",
    "synthetic", "seeded", "ledger_key", "ledger_head", "ledger_rows", "empirical_audit", "declared_patients",
    "study_digest", "site",
}  # fmt: skip


def told(plan: PrivacyPlan | None, account: Account, **changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"site": "site_1", "study_digest": "a" * 64, "seeded": False, "synthetic": False,
                             "declared_patients": 100}  # fmt: skip
    return privacy_statement(plan=plan, account=account, **(facts | changes))


def two_studies(folder: Path) -> Account:
    """A ledger with two rounds of an older study and three of this one."""
    with Ledger(folder / "ledger.sqlite") as ledger:
        cohort = ledger.register_cohort(["anna", "berta"])
        for study, rounds in (("old", 2), ("a" * 64, 3)):
            for index in range(1, rounds + 1):
                ledger.charge(cohort=cohort, event=PLAN.event(), delta=PLAN.delta, ceiling=6.0, accountant="prv",
                              study=study, run="r", round_index=index)  # fmt: skip
        return Account.of(ledger, cohort, "a" * 64, PLAN, 6.0)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Account:
    return two_studies(tmp_path_factory.mktemp("site"))


@pytest.fixture
def statement(account: Account) -> dict[str, Any]:
    return told(PLAN, account)


class TestContent:
    def test_every_field_that_a_careful_reader_expects(self, statement: dict[str, Any]) -> None:
        assert statement.keys() >= FIELDS
        assert json.loads(json.dumps(statement, allow_nan=False)) == statement

    def test_figures_are_those_of_the_ledger(self, statement: dict[str, Any]) -> None:
        assert statement["epsilon"] == epsilon_of([PLAN.event()] * 3, PLAN.delta)
        assert statement["lifetime_epsilon"] == epsilon_of([PLAN.event()] * 5, PLAN.delta)
        assert statement["remaining"] == 6.0 - statement["lifetime_epsilon"]
        assert (statement["steps"], statement["rounds"]) == (30, 3)
        assert statement["lifetime_events"] == [{"noise_multiplier": 1.5, "sampling_rate": 0.1, "steps": 50}]
        assert statement["ledger_head"]["seq"] == 6
        assert statement["cross_check"]["name"] == "rdp"

    def test_rounds_compose_and_never_fall(self, statement: dict[str, Any]) -> None:
        """Three rounds cost more than one and less than three times one."""
        course = [row["epsilon"] for row in statement["by_round"]]
        assert course == sorted(course)
        assert course[-1] == statement["epsilon"]
        assert course[0] < statement["epsilon"] < 3 * course[0]

    def test_seeded_noise_is_said_to_protect_nobody(self, account: Account) -> None:
        assert "protects nobody" in told(PLAN, account, seeded=True)["randomness"]
        assert "operating system's entropy" in told(PLAN, account)["randomness"]
        assert "AES-256" in told(PLAN, account)["randomness"]

    def test_the_noise_is_the_plan_s_and_its_sampler_is_named(self, account: Account) -> None:
        """One patient moves a rounded sum by more than the clipping norm, and the noise is a multiple of that."""
        noise = told(PLAN, account, trained_values=500)["noise"]
        assert noise["sampler"] == "discrete Gaussian"
        assert told(PLAN, account, trained_values=200_000)["noise"]["sampler"] == "rounded Gaussian"
        assert told(PLAN, account)["noise"]["sampler"] is None
        assert PLAN.clip_norm < noise["sensitivity"] < 1.002 * PLAN.clip_norm
        assert noise["standard_deviation"] >= PLAN.noise_multiplier * noise["sensitivity"]
        assert math.log2(noise["grid"]).is_integer()

    @pytest.mark.parametrize("field, factor", [("standard_deviation", 0.99), ("sensitivity", 0.9)])
    def test_noise_that_does_not_cover_the_sensitivity_is_noticed(
        self, statement: dict[str, Any], field: str, factor: float
    ) -> None:
        statement["noise"][field] *= factor
        with pytest.raises(TrustError, match="noise"):
            verify_statement(statement)

    def test_before_the_first_charge_nothing_is_spent(self) -> None:
        empty = told(PLAN, Account(rows=(), lifetime_epsilon=0.0, ceiling=6.0, public_key="", lifetime_rows=()))
        assert (empty["epsilon"], empty["remaining"], empty["plain_words"]) == (0.0, 6.0, None)
        assert verify_statement(empty) == 0.0

    def test_after_a_study_without_privacy_the_lifetime_is_unbounded_in_words(self, account: Account) -> None:
        said = told(PLAN, replace(account, lifetime_epsilon=math.inf, unbounded_runs=2))
        assert (said["lifetime_epsilon"], said["remaining"], said["unbounded_runs"]) == ("unbounded", 0.0, 2)
        assert "2 runs without privacy" in said["lifetime_in_words"]
        assert verify_statement(said) == pytest.approx(said["epsilon"], rel=0.01)

    def test_without_a_plan_there_is_no_guarantee(self, account: Account) -> None:
        open_ = told(None, account)
        assert (open_["private"], open_["epsilon"], open_["delta"]) == (False, None, None)
        with pytest.raises(TrustError, match="no guarantee"):
            verify_statement(open_)


class TestPlainWords:
    @given(st.floats(0, 12), st.floats(1e-12, 1e-3))
    def test_the_bounds_are_those_of_the_worst_allowed_test(self, epsilon: float, delta: float) -> None:
        """Scans the boundary of the region that (epsilon, delta) allows, as Kairouz et al. draw it."""
        words, odds = plain_words(epsilon, delta), math.exp(epsilon)

        def found(false_alarms: float) -> float:
            return min(1.0, odds * false_alarms + delta, 1 - (1 - false_alarms - delta) / odds)

        corner = (1 - delta) / (1 + odds)
        grid = [index / 2000 for index in range(2001)] + [corner]
        best = max((found(rate) + 1 - rate) / 2 for rate in grid)
        assert words["guess_right_at_most"] == pytest.approx(best, abs=1e-9)
        assert words["found_at_1_percent_false_alarms"] == pytest.approx(found(0.01))

    @pytest.mark.parametrize("sigma", [0.3, 0.7, 1.0, 2.0, 5.0, 20.0])
    def test_no_test_of_a_gaussian_mechanism_beats_the_bound(self, sigma: float) -> None:
        """The best test of N(0, sigma^2) against N(1, sigma^2) is known; its delta is Balle and Wang's (2018)."""
        phi = NormalDist().cdf
        right = phi(0.5 / sigma)
        bounds = []
        for epsilon in (step / 20 for step in range(1, 400)):
            delta = phi(0.5 / sigma - epsilon * sigma) - math.exp(epsilon) * phi(-0.5 / sigma - epsilon * sigma)
            if 1e-12 < delta < 1:
                words = plain_words(epsilon, delta)
                bounds.append(words["guess_right_at_most"])
                assert words["found_at_1_percent_false_alarms"] >= phi(1 / sigma + NormalDist().inv_cdf(0.01)) - 1e-9
        assert min(bounds) >= right - 1e-9
        assert min(bounds) < right + 0.02  # and at its best epsilon the bound says hardly more than is true

    def test_worked_examples(self) -> None:
        assert plain_words(0.0, 0.0)["guess_right_at_most"] == 0.5
        assert plain_words(math.log(3), 0.0)["guess_right_at_most"] == pytest.approx(0.75)
        assert "751 times" in plain_words(math.log(3), 1e-5)["text"]
        assert "says little" in plain_words(8.0, 1e-5)["text"]
        assert "says little" not in plain_words(1.0, 1e-5)["text"]
        assert plain_words(1e6, 1e-5)["guess_right_at_most"] == 1.0
        assert plain_words(math.log(11), 0.0)["example_after_at_most"] == pytest.approx(0.1)
        assert "comes to think it 100 in 1,000" in plain_words(math.log(10.9), 0.0)["text"]


Edit = Callable[[dict[str, Any]], object]
LIES: dict[str, Edit] = {
    "epsilon lower": lambda s: s.update(epsilon=s["epsilon"] * 0.97),
    "epsilon higher": lambda s: s.update(epsilon=s["epsilon"] * 1.03),
    "epsilon NaN": lambda s: s.update(epsilon=math.nan),
    "epsilon missing": lambda s: s.pop("epsilon"),
    "epsilon a word": lambda s: s.update(epsilon="low"),
    "delta larger": lambda s: s.update(delta=1e-3),
    "more noise in an event": lambda s: s["events"][1].update(noise_multiplier=3.0),
    "an event left out": lambda s: s["events"].pop(),
    "an event without steps": lambda s: s["events"][0].update(steps=0),
    "an event of words": lambda s: s["events"].append("round 4"),
    "lifetime lower": lambda s: s.update(lifetime_epsilon=s["lifetime_epsilon"] * 0.97),
    "lifetime event left out": lambda s: s["lifetime_events"].clear(),
    "remaining": lambda s: s.update(remaining=s["remaining"] + 0.1),
    "rounds": lambda s: s.update(rounds=2),
    "steps": lambda s: s.update(steps=29),
    "course": lambda s: s["by_round"][2].update(epsilon=0.1),
    "headline noise": lambda s: s.update(noise_multiplier=9.0),
    "headline rate": lambda s: s["sampling"].update(rate=0.01),
    "unbounded without a run": lambda s: s.update(lifetime_epsilon="unbounded", remaining=0.0),
    "a run without privacy hidden in the figure": lambda s: s.update(unbounded_runs=1),
    "more charges than were allowed": lambda s: s.update(charges_allowed=2),
    "accountant missing": lambda s: s.pop("accountant"),
    "nothing": lambda s: s.clear(),
}


class TestVerification:
    def test_the_second_accountant_agrees_within_a_percent(self, statement: dict[str, Any]) -> None:
        assert verify_statement(statement) == recompute(statement)
        assert verify_statement(statement) == pytest.approx(statement["epsilon"], rel=0.01)

    def test_it_survives_the_way_through_a_file(self, statement: dict[str, Any]) -> None:
        assert verify_statement(json.loads(json.dumps(statement))) > 0

    @pytest.mark.parametrize("lie", LIES)
    def test_a_figure_that_does_not_follow_from_the_events_is_caught(self, statement: dict[str, Any], lie: str) -> None:
        changed = copy.deepcopy(statement) | {"ledger_rows": None}  # its chain would tell at once
        LIES[lie](changed)
        with pytest.raises(TrustError):
            verify_statement(changed)

    @pytest.mark.parametrize(
        "events",
        [
            [Event(1.0, 0.1, 50)],
            [Event(5.0, 0.1, 50)],
            [Event(20.0, 0.05, 50)],
            [Event(1.0, 0.1, 20), Event(1.5, 0.2, 30)],
            [Event(2.0, 1.0, 5), Event(2.0, 0.2, 3)],  # without sampling alone it is exact: test_analytic_gaussian
        ],
    )
    @pytest.mark.parametrize("accountant", ["prv", "rdp"])
    @pytest.mark.filterwarnings("ignore:Optimal order")  # Opacus' PRV sizes its grid with a loose RDP bound
    def test_our_accountants_never_fall_below_the_independent_one(self, events: list[Event], accountant: str) -> None:
        """PRV is also tight: 1%, or its own error of 0.01 on each side where epsilon is small."""
        rows = [{"noise_multiplier": e.noise_multiplier, "sampling_rate": e.sampling_rate, "steps": e.steps}
                for e in events]  # fmt: skip
        ours, independent = epsilon_of(events, 1e-5, accountant), recompute({"events": rows, "delta": 1e-5})
        assert ours >= independent
        if accountant == "prv":
            assert ours <= max(1.01 * independent, independent + 0.02)

    def test_the_rdp_bound_is_accepted_although_it_is_not_tight(self, account: Account) -> None:
        rdp = replace(account, lifetime_epsilon=epsilon_of([PLAN.event()] * 5, PLAN.delta, "rdp"))
        claim = told(replace(PLAN, accountant="rdp"), rdp)
        assert verify_statement(claim) < claim["epsilon"]
