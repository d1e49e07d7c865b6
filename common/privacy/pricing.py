"""What a study may still cost: budget that is set aside when it is accepted, and the price of each of its charges.

A promise holds the budget of a study's rounds from the day it is accepted until its rounds are charged or the site
releases it, so two studies that fit one after the other but not together cannot both be accepted. Pure functions from
a ledger's rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass

from common.errors import BudgetExceeded
from common.privacy.accounting import Event
from common.privacy.exposure import (
    Charge,
    LedgerRow,
    Row,
    charges_in,
    histories_of,
    kinds_of,
    unbounded_runs,
    worst_epsilon,
    worst_of,
)

SPARE_SHARE = 0.1
SPARE_LEAST = 2
"""Charges beyond a study's rounds: a crash between charge and answer has its round charged again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What is asked of a ledger for one round.

    Attributes:
        study: The study's digest.
        event: What the round costs each patient.
        ceiling: Largest epsilon over all studies.
        study_ceiling: Largest epsilon of this study; None: no limit of its own.
        charges: How often the study may be charged in all; None: as often as the ceilings allow.
        after_unbounded: Whether patients of a study without privacy may be charged at all; the ceilings then limit
            what the private studies cost together.
        evaluations: How many noised counts of scores the study may ask for; they have an account of their own.
    """

    study: str
    event: Event
    delta: float
    accountant: str
    ceiling: float
    study_ceiling: float | None = None
    charges: int | None = None
    after_unbounded: bool = False
    evaluations: int = 0


@dataclass(frozen=True, slots=True)
class Promise:
    """Budget that is held for a study on a cohort: so many charges of ``event`` in all, those already made included.

    ``evaluations`` holds nothing; it tells how many rows of the evaluation account the study may write.
    """

    cohort: str
    study: str
    event: Event
    charges: int
    delta: float
    accountant: str
    evaluations: int = 0

    def body(self) -> Row:
        """Returns the ledger row that makes the promise."""
        return {"kind": "reserve", **asdict(self)}


def most_charges(rounds: int) -> int:
    """Returns how often a study of so many rounds may be charged: a tenth more than its rounds, at least two more."""
    return rounds + max(SPARE_LEAST, math.ceil(SPARE_SHARE * rounds))


def promises_in(rows: Sequence[Row]) -> tuple[Promise, ...]:
    """Returns the promises that were not released, the last of each study and cohort, in the order of the ledger."""
    held: dict[tuple[str, str], Promise] = {}
    for row in rows:
        if row["kind"] == "reserve":
            held.pop((row["study"], row["cohort"]), None)
            held[row["study"], row["cohort"]] = _promise(row)
        elif row["kind"] == "release":
            held = {key: promise for key, promise in held.items() if key[0] != row["study"]}
    return tuple(held.values())


def price_of(rows: Sequence[Row], cohort: str, price: Price) -> Charge:
    """Returns the epsilon of the private studies before and after the round.

    Raises:
        BudgetExceeded: It would pass a ceiling, take budget that is held for another study, or be a charge too many;
            or the patients' epsilon is infinite.
        LedgerError: The cohort is not in ``rows``.
    """
    check_bounded(rows, cohort, price)
    own, everything = histories_of(rows, cohort, price.study), histories_of(rows, cohort)
    if price.charges is not None and max(map(len, own)) >= price.charges:
        raise BudgetExceeded(
            f"The study was charged {max(map(len, own))} times on these patients, and may be {price.charges} times: "
            "its rounds and a few for crashes. To run it again, agree on it again under another name."
        )
    if price.study_ceiling is not None:
        spent = Charge(_worst(own, (), price), _worst(own, [price.event], price))
        _require(spent, price.study_ceiling, price, "the site's ceiling for one study")
    spent = Charge(_worst(everything, (), price), _worst(everything, [price.event], price))
    _require(spent, price.ceiling, price, "the site's ceiling")
    held = with_promises(rows, cohort, price.study, [price.event])
    _require(Charge(spent.before, worst_of(held, price.delta, price.accountant)), price.ceiling, price, HELD)
    return spent


HELD = "what studies that were accepted before leave of the site's ceiling"


def check_bounded(rows: Sequence[Row], cohort: str, price: Price) -> None:
    """Refuses patients of a study without privacy, unless the site says that it goes on.

    Raises:
        BudgetExceeded: A study without privacy ran on them.
    """
    if not price.after_unbounded and unbounded_runs(rows, cohort):
        raise BudgetExceeded(
            "A study without privacy was trained on these patients: their epsilon is unbounded for good, above any "
            "ceiling. The privacy officer can let private studies go on (after_unbounded: allow in policy.yaml)."
        )


def with_promises(rows: Sequence[Row], cohort: str, but_not: str, more: Sequence[Event]) -> list[list[Event]]:
    """Returns each kind of patient's events: what was charged, what is held for other studies, and ``more``."""
    charges, promises = charges_in(rows), [one for one in promises_in(rows) if one.study != but_not]
    return [
        [*(row.event for row in charges if row.cohort in kind), *outstanding(promises, charges, kind), *more]
        for kind in kinds_of(rows, cohort)
    ]


def outstanding(promises: Sequence[Promise], charges: Sequence[LedgerRow], kind: Set[str]) -> list[Event]:
    """Returns the events that are still held for studies on the patients who are in just these cohorts."""
    found = list[Event]()
    for study in dict.fromkeys(promise.study for promise in promises):
        own = [promise for promise in promises if promise.study == study and promise.cohort in kind]
        done = sum(row.study == study and row.cohort in kind for row in charges)
        for promise in own[-1:]:  # a cohort that grew has a newer promise for the same rounds
            found += [promise.event] * max(0, promise.charges - done)
    return found


def _worst(histories: Sequence[Sequence[LedgerRow]], more: Sequence[Event], price: Price) -> float:
    return worst_epsilon(histories, more, price.delta, price.accountant)


def _require(spent: Charge, ceiling: float, price: Price, whose: str) -> None:
    if not spent.after <= ceiling:  # written so that a NaN is refused
        raise BudgetExceeded(
            f"The cohort has spent epsilon {spent.before:.3f}; this request would make it {spent.after:.3f}, above "
            f"{whose} of {ceiling:g} (delta {price.delta:.1e}). The privacy officer can raise the ceiling, or release "
            "the budget of a study that will not run: oncofed-site study release DIGEST"
        )


def _promise(row: Row) -> Promise:
    return Promise(
        cohort=row["cohort"], study=row["study"], event=Event(**row["event"]), charges=row["charges"],
        delta=row["delta"], accountant=row["accountant"], evaluations=row.get("evaluations", 0),
    )  # fmt: skip
