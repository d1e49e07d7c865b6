"""What a ledger is doing when a fault strikes, and what must be true of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path

from common.errors import LedgerError
from common.privacy import notes
from common.privacy.accounting import Event
from common.privacy.ledger import Ledger
from common.privacy.pricing import Price

PATIENTS = ("anna", "berta", "clara")
OTHERS = ("dora",)
"""On whom a study without privacy is trained."""
SEEDED = 2
Report = Callable[[str], None]


def backwards() -> Callable[[], datetime]:
    """Returns a clock that goes back a day each time it is asked."""
    days = count()
    return lambda: datetime(2026, 6, 1, tzinfo=UTC) - timedelta(days=next(days))


def charge(ledger: Ledger, index: int) -> None:
    """Registers the cohort and charges it once."""
    ledger.charge(
        cohort=ledger.register_cohort(PATIENTS), event=Event(4.0, 0.1, 10), delta=1e-5, ceiling=1e9, accountant="rdp",
        study="s", run="r", round_index=index,
    )  # fmt: skip


def opened_anew(path: Path, report: Report, charges: int) -> None:
    """Charges as a site makes them, each on a ledger of its own: open, charge, close."""
    clock, left = backwards(), charges
    while left:
        try:
            with Ledger(path, clock=clock) as ledger:
                charge(ledger, left)
                report("returned")
                left -= 1
        except LedgerError:
            report("refused")


def noted(path: Path, report: Report, charges: int) -> None:
    """Charges after a row of each other kind: what is held, the cohort, who was scored, a run without privacy."""
    left = charges
    while left:
        try:
            with Ledger(path, clock=backwards()) as ledger:
                _every_kind(ledger, left)
                report("returned")
                left -= 1
        except LedgerError:
            report("refused")


def _every_kind(ledger: Ledger, index: int) -> None:
    study, cohort = f"s{index}", ledger.register_cohort(PATIENTS)
    price = Price(study=study, event=Event(4.0, 0.1, 10), delta=1e-5, accountant="rdp", ceiling=1e9)
    ledger.note(partial(notes.reservation, cohort=cohort, price=price, rounds=1, run="r"))
    ledger.note(partial(notes.cohort_seen, study=study, digest="0"))
    ledger.note(partial(notes.scoring, patients=[study], noised=False))
    ledger.charge_unbounded(cohort=ledger.register_cohort(OTHERS), study=study, run="r")
    charge(ledger, index)


def held_open(path: Path, report: Report, charges: int) -> None:
    """Charges on one ledger that stays open over the fault."""
    left = charges
    with Ledger(path, clock=backwards()) as ledger:
        report("armed")
        while left:
            try:
                charge(ledger, left)
                report("returned")
                left -= 1
            except LedgerError:
                report("refused")


@dataclass(frozen=True, slots=True)
class Work:
    """What is done, how many charges it makes, and how many were in the ledger before; 0: there is no folder."""

    do: Callable[[Path, Report, int], None]
    charges: int
    before: int


WORKS = {
    "first use": Work(opened_anew, 1, 0),
    "opened for each charge": Work(opened_anew, 2, SEEDED),
    "kept open": Work(held_open, 2, SEEDED),
    "rows of every kind": Work(noted, 1, SEEDED),
}


def ledger_in(folder: Path) -> Path:
    """Returns where the site of a case keeps its ledger."""
    return folder / "site" / "ledger.sqlite"


def complaint(folder: Path, least: int, most: int) -> str | None:
    """Returns what is wrong with the ledger after a fault, None when nothing is; makes a fresh charge."""
    try:
        with Ledger(ledger_in(folder)) as ledger:
            cohort = ledger.register_cohort(PATIENTS)
            spent, rows = ledger.spent(cohort, 1e-5, "rdp"), ledger.verify()
            charge(ledger, 99)
            if not least <= spent <= most:
                return f"{least} to {most} charges expected, found {spent:g}"
            if ledger.spent(cohort, 1e-5, "rdp") != spent + 1 or ledger.verify() != rows + 1:
                return "a fresh charge was lost"
            if any(row["kind"] == "scored" for row in ledger.rows()) and spent > SEEDED:
                return _lost(ledger)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _lost(ledger: Ledger) -> str | None:
    """Returns which row that came before the charge is not there."""
    kinds = {row["kind"] for row in ledger.rows()}
    missing = {"cohort", "reserve", "manifest", "scored", "unbounded", "charge"} - kinds
    return f"no row of {', '.join(sorted(missing))}" if missing else None
