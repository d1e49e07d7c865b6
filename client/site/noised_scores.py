"""Score counts that leave with noise: priced when the study enrols, charged to the evaluation account, then drawn.

The order is fixed: the ledger holds the charge before noise is drawn, and the answer is kept, so the same question has
the same answer and costs once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from common.privacy import evaluation_account
from common.privacy.accounting import default_delta
from common.privacy.evaluation_account import MOST_TESTS, Release
from common.privacy.exposure import Row
from common.privacy.ledger import Ledger
from common.privacy.pricing import most_charges

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from client.site.hospital import Site
    from common.config.study import StudyConfig
    from common.protocol.messages import Request


def most_evaluations(study: StudyConfig) -> int:
    """Returns how many noised counts of a site's patients a study may ask for in all; 0 without noise."""
    return most_charges(study.training.rounds) + MOST_TESTS if study.evaluation.noise else 0


def check_evaluation(site: Site, request: Request) -> None:
    """Refuses a study whose noised counts the evaluation account could not pay to its end; writes nothing.

    Raises:
        BudgetExceeded: The study's validations, or its test, would pass the policy's ``evaluation_ceiling``.
    """
    study = request.study
    if not study.evaluation.noise or not site.policy.release_metrics:
        return
    for split, times in (("val", study.training.rounds), ("test", 1)):
        rows, patients = _known(site, split)
        done = evaluation_account.releases(rows, study.digest(), patients)[split]
        evaluation_account.check_affordable(rows, patients, _release(site, request, split), max(0, times - done))


def _known(site: Site, split: str) -> tuple[Sequence[Row], Sequence[str]]:
    """Returns the ledger's rows and the split's patients as it knows them; nothing where there is no ledger yet."""
    names = [name for name, (place, _) in site.cohort.members.items() if place == split]
    if not site.ledger_path.exists():
        return (), ()
    with Ledger(site.ledger_path) as ledger:
        return ledger.rows(), _prints(ledger, names)


def noised_scores(
    site: Site, request: Request, patients: Sequence[str], scores: NDArray[np.float64], labels: NDArray[np.int64]
) -> dict[str, Any]:
    """Returns the noised score state, as JSON, of the patients of ``request.split``, whose account is charged by then.

    Args:
        site: Whose patients they are; its randomness draws the noise.
        request: Asks for the split.
        patients: Their identifiers, P.
        scores: Probability of malignancy a patient, (P,).
        labels: 1 malignant, 0 benign, (P,).

    Raises:
        BudgetExceeded: It would pass the policy's ``evaluation_ceiling``; nothing was charged.
        TooFewPatients: The split is below the policy's floors.
        LedgerError: The ledger cannot be written or believed; nothing may leave.
    """
    from client.site.release_floor import check_split
    from common.evaluation.noised import noised_state
    from common.privacy.discrete import discrete_gaussian

    check_split(site.policy, labels)
    _charge(site, request, patients)
    stream = site.randomness(f"scores-{request.split}", request.round_index).noise
    rules = request.study.evaluation

    def noise(count: int) -> NDArray[np.int64]:
        return discrete_gaussian(count, rules.noise, stream)

    return noised_state(scores, labels, rules.bins, noise).to_json()


def _charge(site: Site, request: Request, patients: Sequence[str]) -> None:
    split, release = request.split, _release(site, request, request.split)
    with Ledger(site.ledger_path) as ledger:
        prints = _prints(ledger, patients)
        cohort = ledger.keyed(f"{split}:{','.join(prints)}")
        ledger.note(partial(evaluation_account.cohort_row, cohort=cohort, patients=prints))
        ledger.note(partial(evaluation_account.charge_row, cohort=cohort, patients=prints, release=release))


def _prints(ledger: Ledger, patients: Sequence[str]) -> Sequence[str]:
    return sorted({ledger.fingerprint(name) for name in patients})


def _release(site: Site, request: Request, split: str) -> Release:
    study, policy = request.study, site.policy
    return Release(
        study=study.digest(),
        run=request.run,
        split=split,
        round_index=request.round_index,
        deviation=study.evaluation.noise,
        most=most_charges(study.training.rounds) if split == "val" else MOST_TESTS,
        delta=evaluation_delta(site),
        ceiling=policy.evaluation_ceiling,
        after_exact=policy.after_unbounded == "allow",
    )


def evaluation_delta(site: Site) -> float:
    """Returns the delta of the evaluation account: the usual one of a cohort of this size, or the policy's largest."""
    return min(default_delta(site.declared_patients), site.policy.delta_max)
