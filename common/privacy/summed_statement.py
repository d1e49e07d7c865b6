"""What a privacy statement says of secure sums: against whom epsilon holds, and what is left when all others collude.

Both figures follow from the events and shares that the ledger noted, so anybody can recompute them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from common.privacy.accounting import Event, epsilon_of
from common.privacy.exposure import LedgerRow, told
from common.privacy.plan import PrivacyPlan

LOCAL = "local: each site noises each of its own steps; holds against hub, other sites and everybody"
DISTRIBUTED = (
    "distributed: the sites share the noise in secure sums, of which the hub sees the sum only; epsilon holds against "
    "the hub together with the assumed number of sites. Against the hub with all other sites the figure under "
    "secure_sum holds"
)
SUM_RELEASED = "the sum of all sites' updates of every round, to the hub; this site's own update left only masked"
OVERLAP = (
    "Epsilons of hospitals are not added, because their patients are taken to be different people; a woman who was "
    "seen at two hospitals of the study has spent both."
)
OVERLAP_SUMMED = (
    "Epsilons of hospitals are not added, because their patients are taken to be different people. A woman who was "
    "seen at two hospitals of the study moves a sum twice under one noise: her epsilon is that of half the noise, "
    "which can be more than both together."
)
SLACK = 1e-6
"""What rounding to the grid and floating point may take off a share, relative."""


def sum_facts(rows: Sequence[LedgerRow], plan: PrivacyPlan, agreed: int) -> dict[str, Any]:
    """Returns what the charges of a study say of its secure sums.

    Args:
        rows: The study's charges.
        plan: The site's plan.
        agreed: How many colluders the study assumes.

    Returns:
        ``colluders`` that the study agreed on and ``assumed_colluders`` that the site's epsilon holds against (the
        fewest over the sums); ``sites`` of the smallest sum and ``honest`` that share its noise; ``void_attempts``
        that were paid again; ``alone``: epsilon when all others collude, ``unbounded`` where a charge of a restored
        ledger tells no share. Numbers of sites are None before the first sum.
    """
    shares = [row.share for row in rows if row.share]
    done = {(row.run, row.round_index) for row in rows if row.share}
    smallest = min(shares, key=lambda share: share.roster - share.colluders, default=None)
    return {
        "colluders": agreed,
        "assumed_colluders": min((share.colluders for share in shares), default=None),
        "sites": smallest.roster if smallest else None,
        "honest": smallest.roster - smallest.colluders if smallest else None,
        "void_attempts": len(shares) - len(done),
        "alone": {"epsilon": told(alone(rows, plan)), "against": "the hub and all other sites together"},
    }


def alone(rows: Sequence[LedgerRow], plan: PrivacyPlan) -> float:
    """Returns the epsilon of the site's own shares, infinite where a charge tells none."""
    if not all(row.share for row in rows):
        return math.inf
    events = [Event(row.share.noise_multiplier, row.event.sampling_rate, row.event.steps) for row in rows if row.share]
    return epsilon_of(events, plan.delta, plan.accountant)


def alone_events(statement: Mapping[str, Any]) -> list[Event] | None:
    """Returns the events of the site's own shares in a statement; None where one tells no share."""
    rows = statement["events"]
    if not all("share" in row for row in rows):
        return None
    return [
        Event(float(row["share"]["noise_multiplier"]), float(row["sampling_rate"]), int(row["steps"])) for row in rows
    ]


def shares_hold(statement: Mapping[str, Any]) -> bool:
    """Returns whether each share is what its sum needs of it, so that the charged events cover what was released.

    A share has at least ``(1 + t - t_study) / (K - t_study)`` of the noise's variance: :mod:`common.privacy.shares`.
    """
    agreed = int(statement["secure_sum"]["colluders"])
    for row in statement["events"]:
        if "share" not in row:
            continue
        share = row["share"]
        least = (1 + share["colluders"] - agreed) / (share["roster"] - agreed)
        sound = share["colluders"] >= agreed >= 1 and share["roster"] - share["colluders"] >= 2
        if not sound or share["noise_multiplier"] < row["noise_multiplier"] * math.sqrt(least) * (1 - SLACK):
            return False
    return True
