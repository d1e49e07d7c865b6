"""The evaluation account: its epsilon against another accountant, its limits, and who is charged."""

import math
from typing import Any

import dp_accounting
import numpy as np
import pytest
from dp_accounting import rdp
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BudgetExceeded
from common.privacy.evaluation_account import (
    CHARGE,
    COHORT,
    Release,
    account,
    charge_row,
    cohort_row,
    epsilon_of_rho,
    rho_of,
    spent_by,
    worst_spent,
)

DELTA = 1e-5
ORDERS = [1 + step for step in np.geomspace(1e-3, 1e7, 3000)]
Rows = list[dict[str, Any]]


def release(**changes: Any) -> Release:
    usual: dict[str, Any] = {"study": "s", "run": "r", "split": "val", "round_index": 1, "deviation": 4, "most": 100,
                             "delta": DELTA, "ceiling": 8.0}  # fmt: skip
    return Release(**(usual | changes))


def charged(rows: Rows, patients: list[str], **changes: Any) -> Rows:
    """The rows with one more release to these patients."""
    named = [row for row in [cohort_row(rows, "".join(patients), patients)] if row]
    rows = [*rows, *named]
    return [*rows, charge_row(rows, "".join(patients), patients, release(**changes))]


@given(deviation=st.integers(1, 200), times=st.integers(1, 60))
def test_epsilon_is_that_of_another_accountant_of_as_many_gaussians(deviation: int, times: int) -> None:
    """Two counts a release, each a Gaussian mechanism with a sensitivity of one patient; RDP is a*rho."""
    accountant = rdp.RdpAccountant(ORDERS)
    accountant.compose(dp_accounting.GaussianDpEvent(deviation), 2 * times)
    ours = epsilon_of_rho(times * rho_of(deviation), DELTA)
    assert ours == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-3, abs=1e-4)


@given(rho=st.floats(1e-6, 100))
def test_epsilon_is_no_larger_than_the_closed_bound(rho: float) -> None:
    """Bun and Steinke 2016, proposition 1.3."""
    assert 0 <= epsilon_of_rho(rho, DELTA) <= rho + 2 * math.sqrt(rho * math.log(1 / DELTA)) + 1e-9


def test_nothing_costs_nothing_and_no_bound_is_no_bound() -> None:
    assert epsilon_of_rho(0.0, DELTA) == 0.0
    assert epsilon_of_rho(math.inf, DELTA) == math.inf


@given(st.lists(st.tuples(st.sets(st.sampled_from("abcdef"), min_size=1), st.integers(1, 50)), max_size=8))
def test_a_patient_pays_for_every_release_that_counted_her(releases: list[tuple[set[str], int]]) -> None:
    rows: Rows = []
    for index, (patients, deviation) in enumerate(releases):
        rows = charged(rows, sorted(patients), deviation=deviation, round_index=index, ceiling=1e9)
    for patient in "abcdef":
        own = sum(1 / deviation**2 for patients, deviation in releases if patient in patients)
        assert spent_by(rows).get(patient, 0.0) == pytest.approx(own)


def test_the_ceiling_holds_and_nothing_is_written_above_it() -> None:
    rows: Rows = []
    with pytest.raises(BudgetExceeded, match="evaluation_ceiling"):
        for index in range(100):
            rows = charged(rows, ["a", "b"], round_index=index, ceiling=3.0)
    spent = epsilon_of_rho(worst_spent(rows, ["a"]), DELTA)
    assert 0 < spent <= 3.0
    assert epsilon_of_rho(worst_spent(rows, ["a"]) + rho_of(4), DELTA) > 3.0


@pytest.mark.parametrize("ceiling", [0.0, math.nan])
def test_a_closed_account_pays_nothing(ceiling: float) -> None:
    with pytest.raises(BudgetExceeded):
        charged([], ["a"], ceiling=ceiling)


def test_a_closed_account_pays_nothing_however_loud_the_noise_is() -> None:
    """Before: at this deviation the epsilon of a release is 0.0 at its delta, which a ceiling of 0 let pass."""
    with pytest.raises(BudgetExceeded, match="evaluation_ceiling is 0"):
        charged([], ["a"], ceiling=0.0, deviation=1_000_000)
    assert charged([], ["a"], ceiling=0.1, deviation=1_000_000)


def test_a_study_asks_as_often_as_it_may_and_no_more() -> None:
    rows = charged(charged([], ["a"], most=2), ["a"], most=2)
    with pytest.raises(BudgetExceeded, match="2 times"):
        charged(rows, ["a"], most=2)
    charged(rows, ["a"], most=2, study="another")


def test_who_was_counted_without_noise_has_no_bound_left() -> None:
    rows: Rows = [{"kind": "scored", "patients": ["a"]}]
    with pytest.raises(BudgetExceeded, match="without noise"):
        charged(rows, ["a", "b"])
    assert charged(rows, ["b"])[-1]["kind"] == CHARGE
    after = charged(rows, ["a", "b"], after_exact=True)
    assert account(after, "s", 4, DELTA)["lifetime_epsilon"] == "unbounded"


def test_who_was_counted_with_noise_is_still_bounded() -> None:
    rows = charged([{"kind": "scored", "patients": ["a"], "noised": True}], ["a"])
    assert [row["kind"] for row in rows[1:]] == [COHORT, CHARGE]
    found = account(rows, "s", 4, DELTA)
    assert found["epsilon"] == found["lifetime_epsilon"] == epsilon_of_rho(1 / 16, DELTA)
    assert found["releases"] == {"val": 1, "test": 0}


def test_exact_scores_of_others_leave_a_bound_and_the_charged_delta_is_told() -> None:
    rows = charged([{"kind": "scored", "patients": ["someone else"]}], ["a"], delta=1e-7)
    found = account(rows, "s", 4, DELTA)
    assert found["delta"] == 1e-7
    assert found["lifetime_epsilon"] == found["epsilon"] == epsilon_of_rho(rho_of(4), 1e-7)
