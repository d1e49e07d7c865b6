"""What a site tells about its privacy budget: its statement, made from its ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.privacy.ledger import Ledger
from common.privacy.statement import Account, privacy_statement

if TYPE_CHECKING:
    from client.site import Site
    from common.messages import Request
    from common.privacy.plan import PrivacyPlan


def site_statement(site: Site, request: Request, plan: PrivacyPlan | None) -> dict[str, Any]:
    """Returns the privacy statement of ``request.study`` at ``site``, over all its runs on this cohort."""
    digest = request.study.digest()
    return privacy_statement(
        site=site.name,
        study_digest=digest,
        plan=plan,
        account=_account(site, digest, plan),
        seeded=site.randomness("statement", 0).seeded,
        synthetic=site.cohort.synthetic,
        declared_patients=site.declared_patients,
    )


def _account(site: Site, digest: str, plan: PrivacyPlan | None) -> Account:
    if plan is None:
        return Account(rows=(), lifetime_epsilon=0.0, ceiling=site.policy.ceiling, public_key="")
    with Ledger(site.ledger_path) as ledger:
        cohort = ledger.register_cohort(site.cohort.train_patients)
        return Account.of(ledger, cohort, digest, plan, site.policy.ceiling)
