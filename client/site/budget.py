"""What a study may cost here: held when it is accepted, charged before each round."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from client.site.cohort_notes import check_cohort
from client.site.noised_scores import most_evaluations
from client.site.studies import note_study
from common.privacy import notes
from common.privacy.exposure import OwnShare, Row
from common.privacy.ledger import Ledger
from common.privacy.pricing import Price, most_charges

if TYPE_CHECKING:
    from client.site.hospital import Site
    from common.privacy.plan import PrivacyPlan
    from common.protocol.messages import Request


def reserve_study(site: Site, plan: PrivacyPlan, request: Request) -> None:
    """Holds the budget of the study's rounds, durably, or refuses it before a round of it is charged for nothing.

    A run that goes on after a crash is let in: it has paid already, and each of its rounds still asks the ledger.

    Raises:
        BudgetExceeded: Says in which round the ceiling would be passed.
    """
    with Ledger(site.ledger_path) as ledger:
        cohort, price = ledger.register_cohort(site.cohort.train_patients), _price(site, plan, request)
        rounds = request.study.training.rounds
        ledger.note(partial(notes.reservation, cohort=cohort, price=price, rounds=rounds, run=request.run))


def check_affordable(site: Site, plan: PrivacyPlan, request: Request) -> None:
    """Refuses what :func:`reserve_study` would refuse now; holds and writes nothing, and makes no ledger.

    Raises:
        BudgetExceeded: Says in which round the ceiling would be passed.
    """
    cohort, rows = _proposed(site)
    notes.reservation(rows, cohort, _price(site, plan, request), request.study.training.rounds, request.run)


def _proposed(site: Site) -> tuple[str, list[Row]]:
    """Returns the cohort and the rows with it; of patients who have spent nothing where no file of a ledger is yet."""
    if any(site.ledger_path.parent.glob(f"{site.ledger_path.name}*")):
        with Ledger(site.ledger_path) as ledger:
            return ledger.proposed(site.cohort.train_patients)
    return "new", [{"kind": "cohort", "cohort": "new", "patients": ["new"]}]


def is_charged(site: Site, request: Request) -> bool:
    """Tells whether the ledger holds a charge for this very round, and for this very attempt at a secure sum.

    Raises:
        LedgerError: The ledger cannot be believed.
    """
    with Ledger(site.ledger_path) as ledger:
        cohort = ledger.register_cohort(site.cohort.train_patients)
        rows = ledger.events(cohort, request.study.digest())
    asked = (request.run, request.round_index, request.attempt)
    return any((row.run, row.round_index, row.share.attempt if row.share else 0) == asked for row in rows)


def rounds_charged(site: Site, request: Request) -> int:
    """Returns how many rounds of this run the ledger holds charges for, whatever the cohort was.

    Raises:
        LedgerError: The ledger cannot be believed.
    """
    with Ledger(site.ledger_path) as ledger:
        rows, asked = ledger.charges(), (request.study.digest(), request.run)
    return len({row.round_index for row in rows if (row.study, row.run) == asked})


def charge_round(site: Site, plan: PrivacyPlan | None, request: Request, share: OwnShare | None = None) -> float | None:
    """Returns the epsilon of the most exposed patient after this round, which is durably charged by then.

    Of the private studies alone; None for a study without privacy, whose patients have no bound from then on. ``share``
    is what the site adds to a secure sum; the charge is that of the sum.

    Raises:
        BudgetExceeded: The round would pass a ceiling, or is one too many; nothing was charged.
        DataError: The cohort is another than the one that the study began with, or a patient has changed sides.
        LedgerError: The ledger cannot be written or believed; nothing may train.
    """
    note_study(site, request.study, sum(values.size for values in request.arrays.values()))
    study = request.study.digest()
    with Ledger(site.ledger_path) as ledger:
        cohort = ledger.register_cohort(site.cohort.train_patients)
        check_cohort(site, ledger, study)
        if plan is None:
            ledger.charge_unbounded(cohort=cohort, study=study, run=request.run)
            return None
        price = _price(site, plan, request)
        return ledger.charge(
            cohort=cohort,
            event=price.event,
            delta=price.delta,
            ceiling=price.ceiling,
            accountant=price.accountant,
            study=study,
            run=request.run,
            round_index=request.round_index,
            study_ceiling=price.study_ceiling,
            charges=price.charges,
            after_unbounded=price.after_unbounded,
            share=share,
        ).after


def _price(site: Site, plan: PrivacyPlan, request: Request) -> Price:
    return Price(
        study=request.study.digest(),
        event=plan.event(),
        delta=plan.delta,
        accountant=plan.accountant,
        ceiling=site.policy.ceiling,
        study_ceiling=site.policy.study_ceiling,
        charges=most_charges(request.study.training.rounds),
        after_unbounded=site.policy.after_unbounded == "allow",
        evaluations=most_evaluations(request.study),
    )
