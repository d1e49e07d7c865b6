"""What the rows of a ledger mean for the patients of a cohort: pure functions from rows to epsilon.

A patient's loss is the composition of every charge on every cohort that holds the patient; a cohort's is that of its
most exposed patient. Sequential composition needs no more than the events, in any order (Dwork and Roth 2014, 3.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import BudgetExceeded, LedgerError
from common.privacy.accounting import Event, epsilon_of
from common.privacy.fingerprints import memberships

Row = dict[str, Any]
"""A ledger row's JSON body with its ``seq`` and ``digest``."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a charge changed: the cohort's lifetime epsilon before and after it."""

    before: float
    after: float


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One charged event."""

    seq: int
    time: str
    cohort: str
    study: str
    run: str
    round_index: int
    delta: float
    event: Event


def price_of(
    rows: Sequence[Row], cohort: str, event: Event, delta: float, accountant: str, ceiling: float, study: str | None
) -> Charge:
    """Returns epsilon before and after ``event``, over all studies or in one.

    Raises:
        BudgetExceeded: It would not stay at or below ``ceiling``.
        LedgerError: The cohort is not in ``rows``.
    """
    histories = histories_of(rows, cohort, study)
    before, after = (worst_epsilon(histories, more, delta, accountant) for more in ([], [event]))
    if not after <= ceiling:  # written so that a NaN is refused
        whose = "the site's ceiling" if study is None else "the site's ceiling for one study"
        raise BudgetExceeded(
            f"The cohort has spent epsilon {before:.3f}; this request would make it {after:.3f}, above {whose} "
            f"of {ceiling:g} (delta {delta:.1e}). The privacy officer can raise the ceiling."
        )
    return Charge(before, after)


def histories_of(rows: Sequence[Row], cohort: str, study: str | None = None) -> list[tuple[LedgerRow, ...]]:
    """Returns one history for each kind of patient in ``cohort``; kinds differ in which other cohorts they are in.

    Raises:
        LedgerError: The cohort is not in ``rows``.
    """
    cohorts = cohorts_in(rows)
    if cohort not in cohorts:
        raise LedgerError("The cohort is not in the ledger; register it first")
    charges = [charge for charge in charges_in(rows) if study in (None, charge.study)]
    return [tuple(row for row in charges if row.cohort in kind) for kind in memberships(cohorts, cohort)]


def worst_epsilon(
    histories: Sequence[Sequence[LedgerRow]], more: Sequence[Event], delta: float, accountant: str
) -> float:
    """Returns the largest epsilon over the histories, each followed by the events ``more``."""
    return max(epsilon_of([*(row.event for row in history), *more], delta, accountant) for history in histories)


def epsilon_after(history: Sequence[LedgerRow], delta: float, accountant: str) -> float:
    """Returns the epsilon of one patient's history."""
    return epsilon_of([row.event for row in history], delta, accountant)


def cohorts_in(rows: Sequence[Row]) -> dict[str, frozenset[str]]:
    """Returns the fingerprints of the patients of every registered cohort."""
    return {row["cohort"]: frozenset(row["patients"]) for row in rows if row["kind"] == "cohort"}


def charges_in(rows: Sequence[Row]) -> tuple[LedgerRow, ...]:
    """Returns the charges among the rows, in order."""
    return tuple(charge for charge in map(_charge, rows) if charge is not None)


def _charge(row: Row) -> LedgerRow | None:
    if row["kind"] != "charge":
        return None
    return LedgerRow(
        seq=row["seq"],
        time=row["time"],
        cohort=row["cohort"],
        study=row["study"],
        run=row["run"],
        round_index=row["round"],
        delta=row["delta"],
        event=Event(**row["event"]),
    )
