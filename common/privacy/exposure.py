"""What the rows of a ledger mean for the patients of a cohort: pure functions from rows to epsilon.

A patient's loss is the composition of every charge on every cohort that holds the patient; a cohort's is that of its
most exposed patient. Sequential composition needs no more than the events, in any order (Dwork and Roth 2014, 3.5).
A study without privacy costs a patient without bound: from its row on the patient's epsilon is infinite for good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from common.errors import LedgerError
from common.privacy.accounting import Event, epsilon_of
from common.privacy.fingerprints import memberships

Row = dict[str, Any]
"""A ledger row's JSON body with its ``seq`` and ``digest``."""
UNBOUNDED: Literal["unbounded"] = "unbounded"
"""An infinite epsilon in JSON and in words."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a charge changed: the cohort's lifetime epsilon before and after it."""

    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnShare:
    """What a site added to a secure sum by itself, noted with the charge of its attempt.

    Attributes:
        noise_multiplier: Of the own share alone, which is all that is left when everybody else colludes.
        roster: Sites of the sum; ``colluders``: how many of them the charged event allows for.
        attempt: Of the round.
    """

    noise_multiplier: float
    roster: int
    colluders: int
    attempt: int


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One charged event; ``share``: where it was a secure sum."""

    seq: int
    time: str
    cohort: str
    study: str
    run: str
    round_index: int
    delta: float
    event: Event
    share: OwnShare | None = None


def histories_of(rows: Sequence[Row], cohort: str, study: str | None = None) -> list[tuple[LedgerRow, ...]]:
    """Returns one history for each kind of patient in ``cohort``; kinds differ in which other cohorts they are in.

    Raises:
        LedgerError: The cohort is not in ``rows``.
    """
    charges = [charge for charge in charges_in(rows) if study in (None, charge.study)]
    return [tuple(row for row in charges if row.cohort in kind) for kind in kinds_of(rows, cohort)]


def worst_epsilon(
    histories: Sequence[Sequence[LedgerRow]], more: Sequence[Event], delta: float, accountant: str
) -> float:
    """Returns the largest epsilon over the histories, each followed by the events ``more``."""
    return worst_of([[*(row.event for row in history), *more] for history in histories], delta, accountant)


def worst_of(patients: Sequence[Sequence[Event]], delta: float, accountant: str) -> float:
    """Returns the largest epsilon over the patients, each with its own events."""
    return max(epsilon_of(events, delta, accountant) for events in patients)


def epsilon_after(history: Sequence[LedgerRow], delta: float, accountant: str) -> float:
    """Returns the epsilon of one patient's history."""
    return epsilon_of([row.event for row in history], delta, accountant)


def unbounded_runs(rows: Sequence[Row], cohort: str, study: str | None = None) -> int:
    """Returns how many runs without privacy, of all studies or of one, reached a patient of the cohort.

    Raises:
        LedgerError: The cohort is not in ``rows``.
    """
    reached = {name for kind in kinds_of(rows, cohort) for name in kind}
    return sum(
        row["kind"] == "unbounded" and row["cohort"] in reached and study in (None, row["study"]) for row in rows
    )


def told(epsilon: float) -> float | str:
    """Returns an epsilon as JSON can hold it: a finite number, or the word ``unbounded``."""
    return epsilon if math.isfinite(epsilon) else UNBOUNDED


def finite_or_infinite(epsilon: float | str) -> float:
    """Returns the epsilon that :func:`told` has put into JSON."""
    return math.inf if epsilon == UNBOUNDED else float(epsilon)


def in_words(epsilon: object, digits: int = 3) -> str:
    """Returns an epsilon, or the word that stands for it, as a person reads it."""
    return f"{epsilon:.{digits}f}" if isinstance(epsilon, int | float) and math.isfinite(epsilon) else UNBOUNDED


def kinds_of(rows: Sequence[Row], cohort: str) -> list[frozenset[str]]:
    """Returns the kinds of patients in ``cohort``, each as the set of cohorts that hold them.

    Raises:
        LedgerError: The cohort is not in ``rows``.
    """
    cohorts = cohorts_in(rows)
    if cohort not in cohorts:
        raise LedgerError("The cohort is not in the ledger; register it first")
    return sorted(memberships(cohorts, cohort), key=sorted)


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
        share=OwnShare(**row["share"]) if "share" in row else None,
    )
