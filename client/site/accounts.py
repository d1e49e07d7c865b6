"""What a site tells about its privacy budget: its statement, made from its ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from client.site.cohort_notes import is_another
from client.site.studies import noted_study
from common.privacy import evaluation_account
from common.privacy.accounting import Event, default_delta, epsilon_of
from common.privacy.exposure import UNBOUNDED, Row, charges_in, kinds_of, told, unbounded_runs
from common.privacy.ledger import Ledger, LedgerRow
from common.privacy.plan import PrivacyPlan
from common.privacy.pricing import outstanding, promises_in
from common.privacy.signature import signed
from common.privacy.statement import USUAL_DELTA, Account, privacy_statement

if TYPE_CHECKING:
    from client.site.hospital import Site
    from client.site.studies import NotedStudy
    from common.config.study import StudyConfig
    from common.protocol.messages import Request


def site_statement(site: Site, request: Request) -> dict[str, Any]:
    """Returns the privacy statement of ``request.study`` at ``site``, over all its runs.

    Where it was charged on more than one cohort, the figures of the study are those of the cohort that it cost most,
    and those of all studies are over these cohorts and today's. A cohort that is another today than any that was
    charged, and was not agreed to, counts as a change. It is signed with the key of the site's ledger, that of a study
    without privacy too.
    """
    study = request.study
    facts = _facts(site, study)
    patients = facts["declared_patients"]
    plan = PrivacyPlan.for_site(study.privacy, study.training, patients) if study.privacy.private else None
    with Ledger(site.ledger_path) as ledger:
        today, charged = ledger.register_cohort(site.cohort.train_patients), ledger.cohorts(study.digest())
        account = Account.worst(ledger, charged or (today,), study.digest(), plan, site.policy.ceiling, also=(today,))
        if charged and today not in charged and is_another(site, ledger, study.digest()):
            account = replace(account, cohort_changes=account.cohort_changes + 1)
        scores = _scores(ledger, study, site.declared_patients)
        said = privacy_statement(plan=plan, account=account, scores=scores, study=study, **facts)
        return signed(said, ledger.sign)


def _scores(ledger: Ledger, study: StudyConfig, declared_patients: int) -> dict[str, Any] | None:
    """Returns what the study's noised score counts cost; None where its counts hold no noise."""
    if not (noise := study.evaluation.noise):
        return None
    return evaluation_account.account(ledger.rows(), study.digest(), noise, default_delta(declared_patients))


def _facts(site: Site, study: StudyConfig) -> dict[str, Any]:
    """Returns what held when the study was trained; an option that was changed since takes nothing back."""
    noted = noted_study(site.home, study)
    return {
        "site": site.name,
        "study_digest": study.digest(),
        "seeded": site.randomness("statement", 0).seeded or (noted is not None and noted.seeded),
        "synthetic": site.cohort.synthetic or (noted is not None and noted.synthetic),
        "declared_patients": noted.declared_patients if noted else site.declared_patients,
        "trained_values": noted.trained_values if noted else None,
    }


def noted_statements(ledger: Ledger, noted: NotedStudy, ceiling: float | None = None) -> list[dict[str, Any]]:
    """Returns the signed statements of a study from ledger and note alone, one for each cohort that it was charged on.

    Args:
        ledger: The site's ledger.
        noted: The study as the site noted it.
        ceiling: The policy's ceiling now; None: the one of the note.
    """
    study = noted.study
    private = study.privacy.private
    plan = PrivacyPlan.for_site(study.privacy, study.training, noted.declared_patients) if private else None
    facts: dict[str, Any] = {
        "site": noted.site,
        "study_digest": study.digest(),
        "seeded": noted.seeded,
        "synthetic": noted.synthetic,
        "declared_patients": noted.declared_patients,
        "trained_values": noted.trained_values,
    }
    limit = noted.ceiling if ceiling is None else ceiling
    accounts = [Account.of(ledger, cohort, study.digest(), plan, limit) for cohort in ledger.cohorts(study.digest())]
    scores = _scores(ledger, study, noted.declared_patients)
    facts |= {"plan": plan, "scores": scores, "study": study}
    return [signed(privacy_statement(account=one, **facts), ledger.sign) for one in accounts]


def spent(ledger: Ledger, noted: Mapping[str, NotedStudy]) -> list[dict[str, Any]]:
    """Returns what each study has spent on each cohort so far, in the order of the first charges.

    Under the accountant of the study's note (PRV where there is none) and the smallest delta charged to the cohort.
    """
    rows = [row for row in ledger.rows() if row["kind"] in ("charge", "unbounded")]
    return [
        _spent(ledger, cohort, study, _least_delta(rows, cohort), noted.get(study))
        for cohort, study in dict.fromkeys((row["cohort"], row["study"]) for row in rows)
    ]


def _least_delta(rows: Sequence[Row], cohort: str) -> float:
    """Returns the smallest delta that was charged to the cohort, the usual one where none was."""
    return min((row["delta"] for row in rows if row["cohort"] == cohort and "delta" in row), default=USUAL_DELTA)


def _spent(ledger: Ledger, cohort: str, study: str, delta: float, noted: NotedStudy | None) -> dict[str, Any]:
    accountant = noted.study.privacy.accountant if noted else "prv"
    events = [row.event for row in ledger.history(cohort, delta, accountant, study)]
    open_runs = unbounded_runs(ledger.rows(), cohort, study)
    return {
        "cohort": cohort, "study": study, "accountant": accountant, "delta": delta, "charges": len(events),
        "epsilon": UNBOUNDED if open_runs else epsilon_of(events, delta, accountant),
        "unbounded_runs": open_runs, "lifetime_epsilon": told(ledger.spent(cohort, delta, accountant)),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Standing:
    """What the patients of a cohort have spent, and what is held for studies that were accepted.

    Attributes:
        history: Charges of the most exposed patient.
        held: What other studies than the one that is asked about may still charge.
        unbounded: Whether a study without privacy was trained on them.
    """

    history: tuple[LedgerRow, ...] = ()
    held: tuple[Event, ...] = ()
    unbounded: bool = False


def latest_standing(ledger: Ledger, delta: float, accountant: str, but_not: str = "") -> Standing:
    """Returns the standing of the cohort that was charged or promised to last, without what is held for one study."""
    rows = ledger.rows()
    used = [row["cohort"] for row in rows if row["kind"] in ("charge", "unbounded", "reserve")]
    if not used:
        return Standing()
    cohort, promises = used[-1], [one for one in promises_in(rows) if one.study != but_not]
    held = (outstanding(promises, charges_in(rows), kind) for kind in kinds_of(rows, cohort))
    most = max(held, key=lambda events: epsilon_of(events, delta, accountant))
    return Standing(ledger.history(cohort, delta, accountant), tuple(most), unbounded_runs(rows, cohort) > 0)
