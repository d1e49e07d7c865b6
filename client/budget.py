"""What a study may cost here: asked before it begins, charged before each round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.studies import note_study
from common.errors import BudgetExceeded
from common.privacy.ledger import Ledger

if TYPE_CHECKING:
    from client.site import Site
    from common.messages import Request
    from common.privacy.plan import PrivacyPlan


def check_affordable(site: Site, plan: PrivacyPlan, request: Request) -> None:
    """Refuses a study that would end above the ceiling, before a round of it is charged for nothing.

    A run that goes on after a crash is let in: it has paid already, and each of its rounds still asks the ledger.

    Raises:
        BudgetExceeded: Says in which round the ceiling would be passed.
    """
    rounds, ceiling = request.study.training.rounds, site.policy.ceiling
    with Ledger(site.ledger_path) as ledger:
        cohort = ledger.register_cohort(site.cohort.train_patients)
        if any(row.run == request.run for row in ledger.events(cohort, request.study.digest())):
            return
        forecast = ledger.forecast(
            cohort=cohort, event_per_round=plan.event(), rounds_left=rounds, ceiling=ceiling, delta=plan.delta,
            accountant=plan.accountant,
        )  # fmt: skip
    if forecast.refused_round is not None:
        raise BudgetExceeded(
            f"With what the cohort has spent, the study would end at epsilon {forecast.epsilon_at_end:.3f} and pass "
            f"the site's ceiling of {ceiling:g} in round {forecast.refused_round} of {rounds}; nothing was charged. "
            "Shorten the study or lower its epsilon, or let the privacy officer raise the ceiling."
        )


def is_charged(site: Site, request: Request) -> bool:
    """Tells whether the ledger holds a charge for this very round.

    Raises:
        LedgerError: The ledger cannot be believed.
    """
    with Ledger(site.ledger_path) as ledger:
        cohort = ledger.register_cohort(site.cohort.train_patients)
        rows = ledger.events(cohort, request.study.digest())
    return any((row.run, row.round_index) == (request.run, request.round_index) for row in rows)


def charge_round(site: Site, plan: PrivacyPlan, request: Request) -> float:
    """Returns the epsilon of the most exposed patient after this round, which is durably charged by then.

    Raises:
        BudgetExceeded: The round would pass a ceiling; nothing was charged.
        LedgerError: The ledger cannot be written or believed; nothing may train.
    """
    note_study(site, request.study, sum(values.size for values in request.arrays.values()))
    with Ledger(site.ledger_path) as ledger:
        return ledger.charge(
            cohort=ledger.register_cohort(site.cohort.train_patients),
            event=plan.event(),
            delta=plan.delta,
            ceiling=site.policy.ceiling,
            accountant=plan.accountant,
            study=request.study.digest(),
            run=request.run,
            round_index=request.round_index,
            study_ceiling=site.policy.study_ceiling,
        ).after
