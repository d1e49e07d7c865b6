"""What a site tells about its privacy budget: its statement, made from its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from client.studies import noted_values
from common.privacy.accounting import epsilon_of
from common.privacy.ledger import Ledger, LedgerRow
from common.privacy.plan import PrivacyPlan
from common.privacy.signature import signed
from common.privacy.statement import Account, privacy_statement

if TYPE_CHECKING:
    from client.site import Site
    from client.studies import NotedStudy
    from common.messages import Request


def site_statement(site: Site, request: Request, plan: PrivacyPlan | None) -> dict[str, Any]:
    """Returns the privacy statement of ``request.study`` at ``site``, over all its runs on this cohort.

    A private one is signed with the key of the site's ledger.
    """
    facts: dict[str, Any] = {
        "site": site.name,
        "study_digest": request.study.digest(),
        "seeded": site.randomness("statement", 0).seeded,
        "synthetic": site.cohort.synthetic,
        "declared_patients": site.declared_patients,
        "trained_values": noted_values(site.home, request.study),
    }
    if plan is None:
        nothing = Account(rows=(), lifetime_epsilon=0.0, ceiling=site.policy.ceiling, public_key="")
        return privacy_statement(plan=None, account=nothing, **facts)
    with Ledger(site.ledger_path) as ledger:
        cohort = ledger.register_cohort(site.cohort.train_patients)
        return _signed_statement(ledger, cohort, plan, site.policy.ceiling, facts)


def noted_statements(ledger: Ledger, noted: NotedStudy, ceiling: float | None = None) -> list[dict[str, Any]]:
    """Returns the signed statements of a study from ledger and note alone, one for each cohort that it was charged on.

    Args:
        ledger: The site's ledger.
        noted: The study as the site noted it.
        ceiling: The policy's ceiling now; None: the one of the note.
    """
    study = noted.study
    plan = PrivacyPlan.for_site(study.privacy, study.training, noted.declared_patients)
    facts = {
        "site": noted.site,
        "study_digest": study.digest(),
        "seeded": noted.seeded,
        "synthetic": noted.synthetic,
        "declared_patients": noted.declared_patients,
        "trained_values": noted.trained_values,
    }
    limit = noted.ceiling if ceiling is None else ceiling
    return [_signed_statement(ledger, cohort, plan, limit, facts) for cohort in ledger.cohorts(study.digest())]


def spent(ledger: Ledger, noted: Mapping[str, NotedStudy]) -> list[dict[str, Any]]:
    """Returns what each study has spent on each cohort so far, in the order of the first charges.

    Under the accountant of the study's note (PRV where there is none) and the smallest delta charged to the cohort.
    """
    charges = ledger.charges()
    return [
        _spent(ledger, cohort, study, min(row.delta for row in charges if row.cohort == cohort), noted.get(study))
        for cohort, study in dict.fromkeys((row.cohort, row.study) for row in charges)
    ]


def _spent(ledger: Ledger, cohort: str, study: str, delta: float, noted: NotedStudy | None) -> dict[str, Any]:
    accountant = noted.study.privacy.accountant if noted else "prv"
    events = [row.event for row in ledger.history(cohort, delta, accountant, study)]
    return {
        "cohort": cohort, "study": study, "accountant": accountant, "delta": delta, "charges": len(events),
        "epsilon": epsilon_of(events, delta, accountant), "lifetime_epsilon": ledger.spent(cohort, delta, accountant),
    }  # fmt: skip


def latest_history(ledger: Ledger, delta: float, accountant: str) -> tuple[LedgerRow, ...]:
    """Returns the charges of the cohort that was charged last; nothing where none was."""
    charges = ledger.charges()
    return ledger.history(charges[-1].cohort, delta, accountant) if charges else ()


def _signed_statement(
    ledger: Ledger, cohort: str, plan: PrivacyPlan, ceiling: float, facts: dict[str, Any]
) -> dict[str, Any]:
    account = Account.of(ledger, cohort, facts["study_digest"], plan, ceiling)
    return signed(privacy_statement(plan=plan, account=account, **facts), ledger.sign)
