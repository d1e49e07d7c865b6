"""The privacy statement of one site: what was guaranteed, to whom, by what, and what was not.

Fields follow NIST SP 800-226 (2025) and Ponomareva et al. 2023, section 5. Every number follows from the events in
the statement, so that anybody can recompute it with another accountant: see :mod:`common.privacy.verification`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from common.config.study import StudyConfig
from common.config.tuned import NOT_STATED
from common.privacy.accounting import epsilon_of, merge
from common.privacy.chain import told_rows
from common.privacy.exposure import UNBOUNDED, told, unbounded_runs
from common.privacy.ledger import Ledger, LedgerRow
from common.privacy.mechanism_facts import (
    accountant_facts,
    mechanism,
    noise_facts,
    randomness_words,
    releases,
    summed_noise_facts,
)
from common.privacy.notes import cohort_changes
from common.privacy.plan import PrivacyPlan
from common.privacy.pricing import most_charges
from common.privacy.summed_statement import DISTRIBUTED, LOCAL, OVERLAP, OVERLAP_SUMMED, SUM_RELEASED, sum_facts
from common.privacy.verification import recompute, verify_statement
from common.trust.journal import Head

__all__ = ["Account", "plain_words", "privacy_statement", "recompute", "verify_statement"]

SCHEMA_VERSION = 2
USUAL_DELTA = 1e-5
EXAMPLE_BEFORE = 0.01
"""What the reader of the worked example thought before, as a probability."""
COUNTS_RELEASED = (
    "score histograms of validation and test patients, to the hub (not covered)",
    "how many validation and test patients of each class there are, to the hub, as far as the site's policy and its "
    "floors let it (not covered)",
)
NOISED_RELEASED = "score histograms of validation and test patients, with noise, to the hub (the evaluation account)"
UPDATES_RELEASED = "the site's update of every round, to the hub"
RELEASED = (
    UPDATES_RELEASED,
    "every global model, to all sites",
    *COUNTS_RELEASED,
    "this statement, with the mechanisms of every study that these patients were charged for, how many rows the site's "
    "ledger has, and a pseudonym of the cohort that stays the same over studies",
)
EXACT_SCORES = (
    "score histograms of validation and test patients: exact, without noise; each question of the study once",
    "the numbers of validation and test patients: exact, without noise; of training patients only the declared one",
)
NOISED_SCORES = (
    "score histograms of validation and test patients, and how many there are, by the epsilon of training: they leave "
    "with noise, under an evaluation account of their own; each question of the study once",
)
NOT_COVERED = (
    "the declared number of training patients, public by agreement",
    *EXACT_SCORES,
    "the counts in the site's readiness certificate, where it made one and the study asks for it",
    "which round is best, chosen on validation patients",
    NOT_STATED,
    "the site's own models (alone, with the federated one), which stay there: they are made of training and validation "
    "patients without noise; figures about them leave once a run as its policy says, at most three score histograms "
    "and thresholds and four differences of AUROC, all of the same test patients",
    "pictures and logs, which stay at the site",
    "studies without privacy on these patients: where one ran, the epsilon over all studies is unbounded",
    "that the site takes part, and how long its answers take",
)
LOOKED_AT = (
    "where the model of the test looks on test patients: sums and counts by class, exact, once a run, as far as the "
    "site's policy lets them leave; the maps stay at the site"
)


def not_covered(private: bool, noised_scores: bool, study: StudyConfig | None = None) -> list[str]:
    """Returns what leaves a site and is not in the epsilon of training, in words; ``study`` tells how it was tuned."""
    if not private:
        return [NOT_PRIVATE]
    lines = list(NOT_COVERED)
    if study is not None:
        lines[lines.index(NOT_STATED)] = study.tuned.in_words(study.data.name)
        lines += [LOOKED_AT] if study.evaluation.attention else []
    if not noised_scores:
        return lines
    return [*NOISED_SCORES, *(line for line in lines if line not in EXACT_SCORES)]


def _released(noised_scores: bool, *, summed: bool) -> list[str]:
    lines = [SUM_RELEASED if summed and line == UPDATES_RELEASED else line for line in RELEASED]
    if not noised_scores:
        return lines
    return [*(line for line in lines if line not in COUNTS_RELEASED), NOISED_RELEASED]


NOT_PRIVATE = (
    "everything: the study is not private, and from its first round on the epsilon of these patients over all studies "
    "is unbounded"
)
EMPIRICAL_AUDIT = (
    "none of this site: an attack needs canaries among its patients. oncofed-sim audit attacks the same mechanism on "
    "public data and gives a lower bound with its confidence"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a site's ledger says of one cohort's most exposed patient.

    Attributes:
        rows: Charges of this study.
        lifetime_epsilon: Epsilon over all studies; infinite once a study without privacy ran on the patients.
        ceiling: What the site's policy allows over all studies.
        public_key: Ed25519 key (hex) that signs the ledger's rows.
        lifetime_rows: Charges of all studies; None: not told.
        head: The ledger's last row; whoever keeps the statement can see a later rollback.
        unbounded_runs: How many runs without privacy reached the cohort's patients.
        cohort_changes: How often the study's cohort was changed after its first charge, and agreed to.
        chain: Every row of the ledger as :func:`common.privacy.chain.told_rows` tells it; None: not told.
    """

    rows: Sequence[LedgerRow]
    lifetime_epsilon: float
    ceiling: float
    public_key: str
    lifetime_rows: Sequence[LedgerRow] | None = None
    head: Head | None = None
    unbounded_runs: int = 0
    cohort_changes: int = 0
    chain: Sequence[Mapping[str, str]] | None = None

    @classmethod
    def of(cls, ledger: Ledger, cohort: str, study: str, plan: PrivacyPlan | None, ceiling: float) -> Account:
        """Returns what ``ledger`` says of ``cohort`` in the study with this digest, under the plan's accountant.

        Without a plan under PRV at the usual delta, :data:`USUAL_DELTA`.
        """
        delta, accountant = (USUAL_DELTA, "prv") if plan is None else (plan.delta, plan.accountant)
        own, entries, rows = ledger.history(cohort, delta, accountant, study), ledger.entries(), ledger.rows()
        shown = {row.seq for row in own} | {row["seq"] for row in rows if row["kind"] == "restore"}
        return cls(
            rows=own,
            lifetime_epsilon=ledger.spent(cohort, delta, accountant),
            ceiling=ceiling,
            public_key=ledger.public_key,
            lifetime_rows=ledger.history(cohort, delta, accountant),
            head=entries[-1].head if entries else Head(),
            unbounded_runs=unbounded_runs(rows, cohort),
            cohort_changes=cohort_changes(rows, study),
            chain=told_rows(entries, shown),
        )

    @classmethod
    def worst(
        cls,
        ledger: Ledger,
        cohorts: Sequence[str],
        study: str,
        plan: PrivacyPlan | None,
        ceiling: float,
        *,
        also: Sequence[str] = (),
    ) -> Account:
        """Returns the account of the cohort that the study cost most, with what all studies cost over all cohorts.

        Args:
            ledger: The site's.
            cohorts: Those that the study was charged on, at least one.
            study: Its digest.
            plan: Its plan; None: without privacy.
            ceiling: The policy's.
            also: Cohorts that enter into what all studies cost only.
        """
        accounts = [cls.of(ledger, cohort, study, plan, ceiling) for cohort in cohorts]
        others = [cls.of(ledger, cohort, study, plan, ceiling) for cohort in also]
        most = max(accounts, key=lambda one: _epsilon(one.rows, plan))
        longest = max([most, *accounts, *others], key=lambda one: one.lifetime_epsilon)
        return replace(
            most,
            lifetime_epsilon=longest.lifetime_epsilon,
            lifetime_rows=longest.lifetime_rows,
            unbounded_runs=max(one.unbounded_runs for one in (*accounts, *others)),
        )


def _epsilon(rows: Sequence[LedgerRow], plan: PrivacyPlan | None) -> float:
    return 0.0 if plan is None else epsilon_of([row.event for row in rows], plan.delta, plan.accountant)


def privacy_statement(
    *, site: str, study_digest: str, plan: PrivacyPlan | None, account: Account, seeded: bool, synthetic: bool,
    declared_patients: int, trained_values: int | None = None, scores: Mapping[str, Any] | None = None,
    study: StudyConfig | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Returns the statement as JSON values; without a plan it says that there is no guarantee.

    ``trained_values``: values of a step, which decide the sampler of its noise; None: nothing was trained yet.
    ``scores``: what :func:`common.privacy.evaluation_account.account` says; None: score counts hold no noise.
    ``study``: tells how its settings were chosen; needed where its noise is shared in secure sums.
    """
    noised, summed = scores is not None, study if study is not None and study.privacy.distributed else None
    common = {
        "schema_version": SCHEMA_VERSION, "site": site, "study_digest": study_digest, "synthetic": synthetic,
        "declared_patients": declared_patients, "private": plan is not None,
        "seeded": seeded, "lifetime_epsilon": told(account.lifetime_epsilon),
        "unbounded_runs": account.unbounded_runs, "cohort_changes": account.cohort_changes,
        "ledger_key": account.public_key, "ledger_head": None if account.head is None else asdict(account.head),
        "ledger_rows": None if account.chain is None else [dict(row) for row in account.chain],
        "evaluation_account": None if scores is None else dict(scores),
    }  # fmt: skip
    if plan is None:
        return common | {"epsilon": None, "delta": None, "not_covered": not_covered(False, noised, study)}
    events = [row.event for row in account.rows]
    epsilon = epsilon_of(events, plan.delta, plan.accountant)
    other = "rdp" if plan.accountant == "prv" else "prv"
    return common | {
        "setting": DISTRIBUTED if summed else LOCAL,
        "secure_sum": sum_facts(account.rows, plan, summed.privacy.colluders) if summed else None,
        "unit": (
            f"patient, with at most {plan.max_images} images in a step; a single image is protected at least as well, "
            "while a group of k patients has up to k times this epsilon and a larger delta"
        ),
        "neighbouring_relation": "add or remove one patient with all their images",
        "sampling": {
            "kind": "none: every patient takes part in every round" if plan.sensitivities else "Poisson over patients",
            "rate": plan.sampling_rate, "expected_batch_patients": plan.expected_batch_patients,
        },
        "mechanism": mechanism(plan),
        "releases": releases(plan),
        "noise": summed_noise_facts(plan, summed, declared_patients, trained_values) if summed else (
            noise_facts(plan, trained_values)
        ),
        "clip_norm": plan.clip_norm,
        "noise_multiplier": plan.noise_multiplier,
        "steps": sum(event.steps for event in events),
        "rounds": len(account.rows),
        "rounds_planned": plan.rounds,
        "charges_allowed": most_charges(plan.rounds),
        "target_epsilon": plan.target_epsilon,
        "accountant": accountant_facts(plan, events),
        "epsilon": epsilon,
        "delta": plan.delta,
        "cross_check": {"name": other, "epsilon": epsilon_of(events, plan.delta, other)},
        "lifetime_events": None if account.lifetime_rows is None else _mechanisms(account.lifetime_rows),
        "ceiling": account.ceiling,
        "remaining": max(0.0, account.ceiling - account.lifetime_epsilon),
        "lifetime_in_words": _lifetime_in_words(account),
        "by_round": _by_round(account.rows, plan),
        "events": [_event(row) for row in account.rows],
        "released": _released(noised, summed=summed is not None),
        "not_covered": not_covered(True, noised, study),
        "randomness": randomness_words(seeded),
        "overlap": OVERLAP_SUMMED if summed is not None else OVERLAP,
        "empirical_audit": EMPIRICAL_AUDIT,
        "plain_words": plain_words(epsilon, plan.delta) if events else None,
    }  # fmt: skip


def _lifetime_in_words(account: Account) -> str:
    if account.lifetime_epsilon < math.inf:
        return f"All studies on these patients together spent epsilon {account.lifetime_epsilon:.4f}."
    return (
        f"{UNBOUNDED.capitalize()}: {account.unbounded_runs} runs without privacy were trained on these patients. What "
        "they released is covered by no epsilon, and the figures here are of the private studies alone."
    )


def plain_words(epsilon: float, delta: float) -> dict[str, Any]:
    """Returns what (epsilon, delta) means for guessing whether one person took part.

    Any test of membership obeys TPR <= e^epsilon FPR + delta and 1 - FPR <= e^epsilon (1 - TPR) + delta (Wasserman and
    Zhou 2010, theorem 2.4; Kairouz, Oh and Viswanath 2015, theorem 2.1). The two lines meet at
    FPR = 1 - TPR = (1 - delta) / (1 + e^epsilon), so with even prior odds no guess is right more often than
    (e^epsilon + delta) / (1 + e^epsilon) on average over what may be seen.
    """
    odds = math.exp(min(epsilon, 700.0))
    right = min(1.0, (1.0 + delta / odds) / (1.0 + 1.0 / odds))
    after = odds * EXAMPLE_BEFORE / (1.0 - EXAMPLE_BEFORE + odds * EXAMPLE_BEFORE)
    false_alarms = 0.01
    found = min(1.0, odds * false_alarms + delta, 1.0 - (1.0 - false_alarms - delta) / odds)
    return {
        "odds_factor": odds,
        "guess_right_at_most": right,
        "found_at_1_percent_false_alarms": found,
        "example_before": EXAMPLE_BEFORE,
        "example_after_at_most": after,
        "formula": "(e^epsilon + delta) / (1 + e^epsilon)",
        "source": "Kairouz, Oh and Viswanath 2015, The composition theorem for differential privacy, theorem 2.1",
        "text": (
            "Suppose someone who knows everything except whether one particular woman was in the training data sees "
            f"all that left this site and is covered, and thinks it a toss-up before. Then no method is right more "
            f"than {_of_thousand(right)} times in 1,000 (500 would be pure guessing). And if 1,000 women who were not "
            f"in it may raise at most 10 false alarms, at most {_of_thousand(found)} of 1,000 who were are found. "
            f"In odds, leaving delta aside: what was released multiplies the odds that she took part by at most "
            f"{_rounded_up(odds)}, so who thought it 10 in 1,000 before comes to think it {_of_thousand(after)} in "
            f"1,000 at most. {_verdict(right)}"
        ),
    }


def strength(epsilon: float) -> str:
    """Returns how strong a guarantee is: ``strong`` up to 1, ``moderate`` up to 3, ``weak``, or ``none``: no bound.

    The best guess about one person's part is right 73 times in 100 at 1, and 95 times at 3 (:func:`plain_words`); 1
    also bounds the first tier of Ponomareva et al. 2023, section 5.
    """
    if not epsilon < math.inf:
        return "none"
    return "strong" if epsilon <= 1 else "moderate" if epsilon <= 3 else "weak"


def _verdict(right: float) -> str:
    usual = "This bounds the worst case; what attacks achieve in practice is usually much less."
    if right < 0.95:
        return usual
    return f"As a bound this says little: an epsilon below 3 would say more. {usual}"


def _by_round(rows: Sequence[LedgerRow], plan: PrivacyPlan) -> list[dict[str, Any]]:
    events = [row.event for row in rows]
    return [
        {"round": row.round_index, "epsilon": epsilon_of(events[: index + 1], plan.delta, plan.accountant)}
        for index, row in enumerate(rows)
    ]


def _event(row: LedgerRow) -> dict[str, Any]:
    share = {"share": asdict(row.share)} if row.share else {}
    return {"round": row.round_index, "time": row.time, **asdict(row.event), **share}


def _mechanisms(rows: Sequence[LedgerRow]) -> list[dict[str, Any]]:
    return [asdict(event) for event in merge([row.event for row in rows])]


def _of_thousand(share: float) -> str:
    return f"{math.ceil(1000 * share) if share < 1 else 1000:,}"


def _rounded_up(odds: float) -> str:
    """Returns a bound with two digits or so, never rounded down."""
    if odds > 1e9:
        return "more than a billion"
    return f"{math.ceil(odds):,}" if odds > 10 else f"{math.ceil(10 * odds) / 10:g}"
