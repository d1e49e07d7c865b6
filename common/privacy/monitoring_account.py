"""The account of monitoring: what reports on a model in use spent on the patients whom it answered, by calendar year.

It is apart from training and evaluation, whose patients are those of a study. A report is charged to every patient,
whoever came: so neither the account nor a refusal depends on who did. A report is two noised counts, of each of which a
patient moves one number by one; what reports cost adds up in zCDP (:mod:`common.privacy.evaluation_account`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from common.errors import BudgetExceeded
from common.privacy.evaluation_account import epsilon_of_rho, rho_of
from common.privacy.exposure import Row

CHARGE = "monitored"
COUNTS = 2
"""Noised counts that one report makes."""
REPORTS = 4
"""Reports that a year's ceiling is made for: one a quarter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report.

    Attributes:
        quarter: As ``2026Q4``.
        package: Digest of the model package.
        deviation: Standard deviation of the noise on each number, in patients.
        ceiling: Epsilon that all reports of the year may cost.
    """

    quarter: str
    package: str
    deviation: int
    delta: float
    ceiling: float

    @property
    def year(self) -> int:
        """The calendar year that pays."""
        return int(self.quarter[:4])


def least_deviation(ceiling: float, delta: float) -> int:
    """Returns the smallest deviation with which a report of each quarter costs at most the ceiling in a year.

    Raises:
        BudgetExceeded: The ceiling is 0.
    """
    check_open(ceiling)
    low, high = 0, 1
    while epsilon_of_rho(REPORTS * rho_of(high, COUNTS), delta) > ceiling:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = epsilon_of_rho(REPORTS * rho_of(middle, COUNTS), delta) <= ceiling
        low, high = (low, middle) if enough else (middle, high)
    return high


def check_open(ceiling: float) -> None:
    """Refuses a ceiling of 0, which much noise would pass: an epsilon of 0 at a delta is not nothing.

    Raises:
        BudgetExceeded: It is 0.
    """
    if not ceiling > 0:
        raise BudgetExceeded(
            "The site's monitoring_ceiling is 0, so nothing is told of a model in use; the privacy officer can raise "
            "it in policy.yaml"
        )


def charge_row(rows: Sequence[Row], report: Report) -> Row:
    """Returns the row that charges a report.

    Raises:
        BudgetExceeded: It was charged before, it would pass the year's ceiling, or a restored ledger cannot tell.
    """
    check_open(report.ceiling)
    _check_known(rows, report.year)
    if any((row["quarter"], row["package"]) == (report.quarter, report.package) for row in _charges(rows)):
        raise BudgetExceeded(
            f"The counts of {report.quarter} for package {report.package[:16]} were drawn before, and their file is "
            "gone. They are not drawn twice: restore monitor/reports from a backup. The next quarter can be told again"
        )
    before = _rho(rows, report.year)
    spent, after = (epsilon_of_rho(rho, report.delta) for rho in (before, before + rho_of(report.deviation, COUNTS)))
    if not after <= report.ceiling:
        raise BudgetExceeded(
            f"Reports on models in use have cost epsilon {spent:.3f} in {report.year}; with this one they would come "
            f"to {after:.3f}, above the site's monitoring_ceiling of {report.ceiling:g} (delta {report.delta:.1e}). "
            "Give a larger --noise, or let the privacy officer raise the ceiling"
        )
    return {"kind": CHARGE, "quarter": report.quarter, "package": report.package, "deviation": report.deviation,
            "delta": report.delta}  # fmt: skip


def _check_known(rows: Sequence[Row], year: int) -> None:
    """Refuses a year of which a report may have left that a restored ledger has forgotten."""
    restored = [datetime.fromisoformat(row["time"]).date() for row in rows if row["kind"] == "restore"]
    if any(day >= date(year, 4, 1) for day in restored):
        raise BudgetExceeded(
            f"The ledger was restored when quarters of {year} had ended; nobody can tell which were told, and with how "
            "much noise. The first quarter of a later year can be told"
        )


def _charges(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["kind"] == CHARGE]


def _rho(rows: Sequence[Row], year: int) -> float:
    return sum(rho_of(row["deviation"], COUNTS) for row in _charges(rows) if row["quarter"][:4] == str(year))


def accounts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Returns ``year``, ``reports``, ``epsilon`` and ``delta`` (the least charged) of each year, as JSON, in order."""
    found = []
    for year in sorted({int(row["quarter"][:4]) for row in _charges(rows)}):
        mine = [row for row in _charges(rows) if row["quarter"][:4] == str(year)]
        delta = min(row["delta"] for row in mine)
        found.append({
            "year": year, "reports": len(mine), "epsilon": epsilon_of_rho(_rho(rows, year), delta), "delta": delta,
        })  # fmt: skip
    return found
