"""The account of noised score counts: what studies with ``evaluation.noise`` spent on validation and test patients.

It is apart from the account of training, since a patient is on one side for good (:mod:`common.privacy.notes`).
Each release is a discrete Gaussian mechanism, and what releases cost adds up in zCDP (Bun and Steinke 2016, lemma 2.3).
A patient whose scores left without noise, in a study without it, has no bound from then on. Pure functions from rows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import BudgetExceeded
from common.evaluation.noised import COUNTS
from common.privacy.exposure import Row, told
from common.privacy.notes import exactly_scored
from common.privacy.pricing import most_charges

COHORT, CHARGE = "evaluation-cohort", "evaluated"
SPLITS = ("val", "test")
MOST_TESTS = most_charges(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release of the counts of a split.

    Attributes:
        deviation: Standard deviation of the noise on each count, in patients.
        study: The study's digest.
        most: How often the study may ask for the split in all.
        after_exact: Whether patients may be charged whose scores left without noise before.
    """

    study: str
    run: str
    split: str
    round_index: int
    deviation: int
    most: int
    delta: float
    ceiling: float
    after_exact: bool = False


def rho_of(deviation: int, counts: int = COUNTS) -> float:
    """Returns the zCDP of one release: half of ``1 / deviation^2`` for each count it makes.

    Canonne, Kamath and Steinke 2020, theorem 14, with an L2 sensitivity of one patient.
    """
    return counts / (2.0 * deviation**2)


def epsilon_of_rho(rho: float, delta: float) -> float:
    """Returns an epsilon at ``delta`` that rho-zCDP implies; 0.0 for rho 0, infinite for an infinite one.

    The least, over orders a > 1, of ``rho a + ln(1 / (a delta)) / (a - 1) + ln(1 - 1 / a)`` (Canonne, Kamath and
    Steinke 2020, proposition 12 and corollary 13); each order is valid, so a grid of them errs upwards only.
    """
    if rho == 0.0 or math.isinf(rho):
        return rho
    orders = 1.0 + np.geomspace(1e-4, 1e8, 20_000)
    bounds = rho * orders + np.log(1.0 / (orders * delta)) / (orders - 1.0) + np.log1p(-1.0 / orders)
    return max(0.0, float(bounds.min()))


def spent_by(rows: Sequence[Row], study: str | None = None) -> Mapping[str, float]:
    """Returns the zCDP that every evaluated patient has spent, over all studies or in one, by fingerprint."""
    cohorts = {row["cohort"]: row["patients"] for row in rows if row["kind"] == COHORT}
    spent: dict[str, float] = defaultdict(float)
    for row in rows:
        if row["kind"] == CHARGE and study in (None, row["study"]):
            for patient in cohorts[row["cohort"]]:
                spent[patient] += rho_of(row["deviation"])
    return spent


def worst_spent(rows: Sequence[Row], patients: Collection[str]) -> float:
    """Returns the largest zCDP over the patients; infinite where the scores of one left without noise."""
    if exactly_scored(rows).intersection(patients):
        return math.inf
    return _noised(rows, patients)


def _noised(rows: Sequence[Row], patients: Collection[str]) -> float:
    spent = spent_by(rows)
    return max((spent.get(patient, 0.0) for patient in patients), default=0.0)


def cohort_row(rows: Sequence[Row], cohort: str, patients: Collection[str]) -> Row | None:
    """Returns the row that names the patients of a split; None where it is there."""
    known = any(row["kind"] == COHORT and row["cohort"] == cohort for row in rows)
    return None if known else {"kind": COHORT, "cohort": cohort, "patients": sorted(patients)}


def charge_row(rows: Sequence[Row], cohort: str, patients: Collection[str], release: Release) -> Row:
    """Returns the row that charges a release to the patients of a split.

    Raises:
        BudgetExceeded: It would pass the ceiling, or the study has asked too often.
    """
    done = releases(rows, release.study, patients)[release.split]
    if done >= release.most:
        raise BudgetExceeded(
            f"The study asked for noised counts of the {release.split} patients {done} times, as often as it may"
        )
    check_affordable(rows, patients, release, 1)
    return {"kind": CHARGE, "cohort": cohort, "study": release.study, "run": release.run, "split": release.split,
            "round": release.round_index, "deviation": release.deviation, "delta": release.delta}  # fmt: skip


def check_affordable(rows: Sequence[Row], patients: Collection[str], release: Release, times: int) -> None:
    """Refuses so many releases if they would pass the ceiling of the evaluation account.

    Raises:
        BudgetExceeded: Says what was spent and what it would come to.
    """
    if not release.ceiling > 0:  # much noise would pass: an epsilon of 0 at a delta is not nothing
        raise BudgetExceeded(
            "The site's evaluation_ceiling is 0, so no count of scores leaves with noise; the privacy officer can "
            "raise it in policy.yaml"
        )
    before = worst_spent(rows, patients)
    if math.isinf(before) and not release.after_exact:
        raise BudgetExceeded(
            f"Scores of {release.split} patients left without noise before: noise bounds nothing for them any more. "
            "The privacy officer can let studies with noise go on (after_unbounded: allow in policy.yaml)"
        )
    if math.isinf(before):
        before = _noised(rows, patients)
    spent, after = (epsilon_of_rho(before + more * rho_of(release.deviation), release.delta) for more in (0, times))
    if not after <= release.ceiling:
        raise BudgetExceeded(
            f"Noised counts have cost the {release.split} patients epsilon {spent:.3f}; with {times} more they would "
            f"come to {after:.3f}, above the site's evaluation_ceiling of {release.ceiling:g} (delta "
            f"{release.delta:.1e}). Raise evaluation.noise, train in fewer rounds, or let the privacy officer raise "
            "the ceiling"
        )


def releases(rows: Sequence[Row], study: str, patients: Collection[str] | None = None) -> dict[str, int]:
    """Returns how often a study had the counts of each split, of any cohort or of ones that hold these patients."""
    cohorts = {row["cohort"]: set(row["patients"]) for row in rows if row["kind"] == COHORT}
    mine = [row for row in rows if row["kind"] == CHARGE and row["study"] == study]
    if patients is not None:
        mine = [row for row in mine if not cohorts[row["cohort"]].isdisjoint(patients)]
    return {split: sum(row["split"] == split for row in mine) for split in SPLITS}


def account(rows: Sequence[Row], study: str, deviation: int, usual_delta: float) -> dict[str, Any]:
    """Returns what a statement says of noised counts, as JSON.

    ``releases`` by split and ``epsilon`` of the study's most exposed patient, and ``lifetime_epsilon`` of the most
    exposed one over all studies, ``unbounded`` where scores of evaluated patients left without noise too. ``delta`` is
    the least that the study was charged with, ``usual_delta`` where nothing was.
    """
    own, all_of_them = spent_by(rows, study), spent_by(rows)
    charged = [row["delta"] for row in rows if row["kind"] == CHARGE and row["study"] == study]
    delta, exact = min(charged, default=usual_delta), exactly_scored(rows) & all_of_them.keys()
    longest = math.inf if exact else max(all_of_them.values(), default=0.0)
    return {
        "noise": deviation,
        "releases": releases(rows, study),
        "epsilon": epsilon_of_rho(max(own.values(), default=0.0), delta) if deviation else None,
        "delta": delta,
        "lifetime_epsilon": told(epsilon_of_rho(longest, delta)),
    }


def accounts(rows: Sequence[Row], usual_delta: float) -> list[dict[str, Any]]:
    """Returns :func:`account` of each study that counted scores with noise, named by ``study``."""
    noise = {row["study"]: row["deviation"] for row in rows if row["kind"] == CHARGE}
    return [{"study": study, **account(rows, study, noise[study], usual_delta)} for study in noise]
