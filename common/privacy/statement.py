"""The privacy statement of one site: what was guaranteed, to whom, by what, and what was not.

Fields follow NIST SP 800-226 (2025) and Ponomareva et al. 2023, section 5. Every number follows from the events in
the statement, so that anybody can recompute it, also with another accountant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from common.errors import TrustError
from common.privacy.accounting import Event, epsilon_of
from common.privacy.ledger import LedgerRow
from common.privacy.plan import PrivacyPlan

SCHEMA_VERSION = 1
TOLERANCE = 0.01
RELEASED = (
    "the site's update of every round, to the hub",
    "every global model, to all sites",
    "score histograms of validation and test patients, to the hub (not covered)",
)
NOT_COVERED = (
    "the declared number of training patients, public by agreement",
    "score histograms of validation and test patients: exact, without noise",
    "which round is best, chosen on validation patients",
    "hyper-parameters, chosen before the study",
    "the site's own baseline model, which stays at the site; its test score histogram does not",
    "that the site takes part, and how long its answers take",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a site's ledger says of one cohort: rows of this study, epsilon over all studies, and the ceiling."""

    rows: Sequence[LedgerRow]
    lifetime_epsilon: float
    ceiling: float
    public_key: str


def privacy_statement(
    *, site: str, study_digest: str, plan: PrivacyPlan | None, account: Account, seeded: bool, synthetic: bool,
    declared_patients: int,
) -> dict[str, Any]:  # fmt: skip
    """Returns the statement as JSON values; without a plan it says that there is no guarantee."""
    common = {
        "schema_version": SCHEMA_VERSION, "site": site, "study_digest": study_digest, "synthetic": synthetic,
        "declared_patients": declared_patients, "private": plan is not None,
    }  # fmt: skip
    if plan is None:
        return common | {"epsilon": None, "delta": None, "not_covered": ["everything: the study is not private"]}
    events = [row.event for row in account.rows]
    epsilon = epsilon_of(events, plan.delta, plan.accountant)
    other = "rdp" if plan.accountant == "prv" else "prv"
    return common | {
        "setting": "local: each site noises each of its own steps; holds against hub, other sites and everybody",
        "unit": f"patient, with at most {plan.max_images} images in a step",
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
        "ceiling": account.ceiling,
        "remaining": max(0.0, account.ceiling - account.lifetime_epsilon),
        "by_round": _by_round(account.rows, plan),
        "events": [{"round": row.round_index, "time": row.time, **asdict(row.event)} for row in account.rows],
        "released": list(RELEASED),
        "not_covered": list(NOT_COVERED),
        "randomness": _randomness(seeded),
        "seeded": seeded,
        "overlap": (
            "Epsilons of hospitals are not added, because their patients are taken to be different people; a woman "
            "who was seen at two hospitals of the study has spent both."
        ),
        "ledger_key": account.public_key,
        "plain_words": plain_words(epsilon, plan.delta) if events else None,
    }  # fmt: skip


def plain_words(epsilon: float, delta: float) -> dict[str, Any]:
    """Returns what (epsilon, delta) means for guessing whether one person took part.

    Any test of membership has true-positive rate <= e^epsilon * false-positive rate + delta (Wasserman and Zhou 2010,
    theorem 2.4; Kairouz et al. 2015, theorem 2.1), so with even prior odds no guess is right more often than
    (e^epsilon + delta) / (1 + e^epsilon).
    """
    odds = math.exp(min(epsilon, 700.0))
    right = min(1.0, (1.0 + delta / odds) / (1.0 + 1.0 / odds))
    return {
        "odds_factor": odds,
        "guess_right_at_most": right,
        "text": (
            "Suppose someone who knows everything except whether one particular woman was in the training data sees "
            f"all that left this site, and thinks it a toss-up before. Then no method lets them be right more than "
            f"{_of_thousand(right)} times in 1,000 (500 would be pure guessing). This is a bound for the worst "
            "case; what attacks achieve in practice is usually less."
        ),
    }


def recompute(statement: Mapping[str, Any]) -> float:
    """Returns epsilon from the statement's events by an independent accountant, Google's dp-accounting (PLD).

    Raises:
        TrustError: dp-accounting is not installed, or the statement has no events to recompute.
    """
    try:
        import dp_accounting
        from dp_accounting import pld
    except ImportError:
        raise TrustError("Install the second accountant to verify: pip install 'oncofed[dp-check]'") from None
    accountant = pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    try:
        events = [
            Event(float(e["noise_multiplier"]), float(e["sampling_rate"]), int(e["steps"])) for e in statement["events"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise TrustError(f"The statement's events cannot be read ({error})") from None
    for event in events:
        gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
        sampled = dp_accounting.PoissonSampledDpEvent(event.sampling_rate, gaussian)
        accountant.compose(sampled, event.steps)
    return float(accountant.get_epsilon(float(statement["delta"]))) if events else 0.0


def verify_statement(statement: Mapping[str, Any]) -> float:
    """Returns the independent epsilon after checking that it does not exceed the claimed one by more than 1%.

    An RDP claim may lie above the independent value: RDP is an upper bound that is not tight.

    Raises:
        TrustError: The claim is too low, or (PRV) differs by more than 1% and 0.02.
    """
    claimed, independent = float(statement["epsilon"]), recompute(statement)
    slack = TOLERANCE * independent + 0.02
    too_high = statement["accountant"]["name"] == "prv" and claimed > independent + slack
    if claimed < independent - slack or too_high:
        raise TrustError(
            f"The statement of {statement.get('site')} claims epsilon {claimed:.4f}; its own events give "
            f"{independent:.4f} with an independent accountant"
        )
    return independent


def _by_round(rows: Sequence[LedgerRow], plan: PrivacyPlan) -> list[dict[str, Any]]:
    events = [row.event for row in rows]
    return [
        {"round": row.round_index, "epsilon": epsilon_of(events[: index + 1], plan.delta, plan.accountant)}
        for index, row in enumerate(rows)
    ]


def _randomness(seeded: bool) -> str:
    source = "a seed of the simulation" if seeded else "the operating system's entropy"
    warning = (
        " Whoever knows the seed can take the noise off: this run demonstrates and protects nobody." if seeded else ""
    )
    return (
        f"torch's Mersenne Twister, seeded from {source}: a pseudo-random generator, not a cryptographic one; "
        f"floating-point effects are not covered.{warning}"
    )


def _of_thousand(share: float) -> int:
    return math.ceil(1000 * share) if share < 1 else 1000
