"""The monitoring account: its epsilon against another accountant, its yearly ceiling, and what it cannot know."""

from __future__ import annotations

from typing import Any

import dp_accounting
import numpy as np
import pytest
from dp_accounting import rdp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.errors import BudgetExceeded
from common.privacy.monitoring_account import COUNTS, REPORTS, Report, accounts, charge_row, least_deviation

DELTA = 1e-5
ORDERS = [1 + step for step in np.geomspace(1e-3, 1e7, 2000)]
QUARTERS = ("2026Q1", "2026Q2", "2026Q3", "2026Q4")
Rows = list[dict[str, Any]]


def report(quarter: str = "2026Q1", **changes: Any) -> Report:
    usual: dict[str, Any] = {"package": "a" * 64, "deviation": 10, "delta": DELTA, "ceiling": 8.0}
    return Report(quarter=quarter, **(usual | changes))


def charged(rows: Rows, asked: Report) -> Rows:
    return [*rows, charge_row(rows, asked)]


@settings(max_examples=25)
@given(deviations=st.lists(st.integers(2, 300), min_size=1, max_size=4))
def test_a_year_costs_what_another_accountant_says_of_as_many_gaussians(deviations: list[int]) -> None:
    rows: Rows = []
    accountant = rdp.RdpAccountant(ORDERS)
    for quarter, deviation in zip(QUARTERS, deviations, strict=False):
        rows = charged(rows, report(quarter, deviation=deviation, ceiling=1e6))
        accountant.compose(dp_accounting.GaussianDpEvent(deviation), COUNTS)
    (year,) = accounts(rows)
    assert (year["year"], year["reports"]) == (2026, len(deviations))
    assert year["epsilon"] == pytest.approx(accountant.get_epsilon(DELTA), rel=2e-3, abs=1e-4)


@settings(max_examples=25)
@given(ceiling=st.floats(0.01, 100))
def test_the_least_noise_pays_four_quarters_and_no_fifth_report(ceiling: float) -> None:
    deviation, rows = least_deviation(ceiling, DELTA), list[dict[str, Any]]()
    for quarter in QUARTERS:
        rows = charged(rows, report(quarter, deviation=deviation, ceiling=ceiling))
    assert len(rows) == REPORTS and accounts(rows)[0]["epsilon"] <= ceiling
    assume(deviation > 1)
    less: Rows = []
    with pytest.raises(BudgetExceeded, match="monitoring_ceiling"):
        for quarter in QUARTERS:
            less = charged(less, report(quarter, deviation=deviation - 1, ceiling=ceiling))


def test_another_year_and_another_package_have_their_own_place() -> None:
    rows = charged([], report(deviation=1, ceiling=8.0))
    with pytest.raises(BudgetExceeded, match="monitoring_ceiling"):
        charge_row(rows, report(package="b" * 64, deviation=1, ceiling=8.0))
    rows = charged(rows, report("2027Q1", deviation=1, ceiling=8.0))
    assert [(year["year"], year["reports"]) for year in accounts(rows)] == [(2026, 1), (2027, 1)]


def test_one_report_is_charged_once_whatever_the_noise() -> None:
    rows = charged([], report())
    with pytest.raises(BudgetExceeded, match="not drawn twice"):
        charge_row(rows, report(deviation=1000))


def test_a_closed_account_lets_no_noise_open_it() -> None:
    """So much noise that epsilon is 0.000 would pass a ceiling of 0."""
    with pytest.raises(BudgetExceeded, match="is 0"):
        least_deviation(0.0, DELTA)
    with pytest.raises(BudgetExceeded, match="is 0"):
        charge_row([], report(deviation=10**9, ceiling=0.0))


def test_a_row_names_nobody() -> None:
    assert set(charge_row([], report())) == {"kind", "quarter", "package", "deviation", "delta"}


@pytest.mark.parametrize(("day", "open_"), [("2026-03-31", True), ("2026-04-01", False), ("2027-01-05", False)])
def test_after_a_restore_a_year_that_may_have_been_told_is_closed(day: str, open_: bool) -> None:
    rows: Rows = [{"kind": "restore", "time": f"{day}T10:00:00+00:00"}]
    if open_:
        assert charge_row(rows, report("2026Q2"))["quarter"] == "2026Q2"
        return
    with pytest.raises(BudgetExceeded, match="restored"):
        charge_row(rows, report("2026Q4"))
