"""The privacy statement of one site: what was guaranteed, to whom, by what, and what was not.

Fields follow NIST SP 800-226 (2025) and Ponomareva et al. 2023, section 5. Every number follows from the events in
the statement, so that anybody can recompute it with another accountant: see :mod:`common.privacy.verification`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from common.privacy.accounting import epsilon_of, merge
from common.privacy.chain import told_rows
from common.privacy.ledger import Ledger, LedgerRow
from common.privacy.plan import PrivacyPlan
from common.privacy.verification import recompute, verify_statement
from common.trust.journal import Head

__all__ = ["Account", "plain_words", "privacy_statement", "recompute", "verify_statement"]

SCHEMA_VERSION = 1
EXAMPLE_BEFORE = 0.01
"""What the reader of the worked example thought before, as a probability."""
RELEASED = (
    "the site's update of every round, to the hub",
    "every global model, to all sites",
    "score histograms of validation and test patients, to the hub (not covered)",
    "this statement, with the mechanisms of every study that these patients were charged for, how many rows the site's "
    "ledger has, and a pseudonym of the cohort that stays the same over studies",
)
NOT_COVERED = (
    "the declared number of training patients, public by agreement",
    "score histograms of validation and test patients: exact, without noise; each question of the study once",
    "which round is best, chosen on validation patients",
    "hyper-parameters, chosen before the study",
    "the site's own models (alone, fine-tuned), which stay there; figures about them leave as its policy says",
    "pictures and logs, which stay at the site",
    "that the site takes part, and how long its answers take",
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
        lifetime_epsilon: Epsilon over all studies.
        ceiling: What the site's policy allows over all studies.
        public_key: Ed25519 key (hex) that signs the ledger's rows.
        lifetime_rows: Charges of all studies; None: not told.
        head: The ledger's last row; whoever keeps the statement can see a later rollback.
        chain: Every row of the ledger as :func:`common.privacy.chain.told_rows` tells it; None: not told.
    """

    rows: Sequence[LedgerRow]
    lifetime_epsilon: float
    ceiling: float
    public_key: str
    lifetime_rows: Sequence[LedgerRow] | None = None
    head: Head | None = None
    chain: Sequence[Mapping[str, str]] | None = None

    @classmethod
    def of(cls, ledger: Ledger, cohort: str, study: str, plan: PrivacyPlan, ceiling: float) -> Account:
        """Returns what ``ledger`` says of ``cohort`` in the study with this digest, under the plan's accountant."""
        rows, entries = ledger.history(cohort, plan.delta, plan.accountant, study), ledger.entries()
        return cls(
            rows=rows,
            lifetime_epsilon=ledger.spent(cohort, plan.delta, plan.accountant),
            ceiling=ceiling,
            public_key=ledger.public_key,
            lifetime_rows=ledger.history(cohort, plan.delta, plan.accountant),
            head=entries[-1].head if entries else Head(),
            chain=told_rows(entries, {row.seq for row in rows}),
        )


def privacy_statement(
    *, site: str, study_digest: str, plan: PrivacyPlan | None, account: Account, seeded: bool, synthetic: bool,
    declared_patients: int,
) -> dict[str, Any]:  # fmt: skip
    """Returns the statement as JSON values; without a plan it says that there is no guarantee."""
    common = {
        "schema_version": SCHEMA_VERSION, "site": site, "study_digest": study_digest, "synthetic": synthetic,
        "declared_patients": declared_patients, "private": plan is not None,
        "seeded": seeded,
    }  # fmt: skip
    if plan is None:
        return common | {"epsilon": None, "delta": None, "not_covered": ["everything: the study is not private"]}
    events = [row.event for row in account.rows]
    epsilon = epsilon_of(events, plan.delta, plan.accountant)
    other = "rdp" if plan.accountant == "prv" else "prv"
    return common | {
        "setting": "local: each site noises each of its own steps; holds against hub, other sites and everybody",
        "unit": (
            f"patient, with at most {plan.max_images} images in a step; a single image is protected at least as well, "
            "while a group of k patients has up to k times this epsilon and a larger delta"
        ),
        "neighbouring_relation": "add or remove one patient with all their images",
        "sampling": {
            "kind": "Poisson over patients", "rate": plan.sampling_rate,
            "expected_batch_patients": plan.expected_batch_patients,
        },
        "mechanism": "Gaussian noise on the sum of clipped per-patient mean gradients; empty batches included",
        "clip_norm": plan.clip_norm,
        "noise_multiplier": plan.noise_multiplier,
        "steps": sum(event.steps for event in events),
        "rounds": len(account.rows),
        "rounds_planned": plan.rounds,
        "target_epsilon": plan.target_epsilon,
        "accountant": {"name": plan.accountant, "library": "opacus", "version": metadata.version("opacus")},
        "epsilon": epsilon,
        "delta": plan.delta,
        "cross_check": {"name": other, "epsilon": epsilon_of(events, plan.delta, other)},
        "lifetime_epsilon": account.lifetime_epsilon,
        "lifetime_events": None if account.lifetime_rows is None else _mechanisms(account.lifetime_rows),
        "ceiling": account.ceiling,
        "remaining": max(0.0, account.ceiling - account.lifetime_epsilon),
        "by_round": _by_round(account.rows, plan),
        "events": [{"round": row.round_index, "time": row.time, **asdict(row.event)} for row in account.rows],
        "released": list(RELEASED),
        "not_covered": list(NOT_COVERED),
        "randomness": _randomness(seeded),
        "overlap": (
            "Epsilons of hospitals are not added, because their patients are taken to be different people; a woman "
            "who was seen at two hospitals of the study has spent both."
        ),
        "ledger_key": account.public_key,
        "ledger_head": None if account.head is None else asdict(account.head),
        "ledger_rows": None if account.chain is None else [dict(row) for row in account.chain],
        "empirical_audit": EMPIRICAL_AUDIT,
        "plain_words": plain_words(epsilon, plan.delta) if events else None,
    }  # fmt: skip


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


def _mechanisms(rows: Sequence[LedgerRow]) -> list[dict[str, Any]]:
    return [asdict(event) for event in merge([row.event for row in rows])]


def _randomness(seeded: bool) -> str:
    source = "a seed of the simulation" if seeded else "the operating system's entropy"
    warning = (
        " Whoever knows the seed can take the noise off: this run demonstrates and protects nobody." if seeded else ""
    )
    return (
        f"torch's Mersenne Twister, seeded from {source}: a pseudo-random generator, not a cryptographic one; "
        f"floating-point effects are not covered.{warning}"
    )


def _of_thousand(share: float) -> str:
    return f"{math.ceil(1000 * share) if share < 1 else 1000:,}"


def _rounded_up(odds: float) -> str:
    """Returns a bound with two digits or so, never rounded down."""
    if odds > 1e9:
        return "more than a billion"
    return f"{math.ceil(odds):,}" if odds > 10 else f"{math.ceil(10 * odds) / 10:g}"
