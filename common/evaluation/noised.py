"""A score state under noise: the histogram of a site's scores, of which no count is exact.

Noise on each of thousands of bins would drown a few hundred patients, so the patients are counted twice in a few
intervals. The first count finds where scores lie: a timid model has them all within a hundredth. Of it nothing leaves
but the intervals of the second count, which hold about equally many patients each and which classes are counted in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from common.evaluation.scores import ScoreState

SEARCHED, TOLD = 32, 8
"""Intervals of the first count, of all patients, and of the second, of each class; chosen by the error of the AUROC in
``simulations.analysis.evaluation_noise``: more intervals tell scores apart better and hold more noise."""
COUNTS = 2
"""Noised counts that one release makes; one patient moves one number of each by one."""
Counts = NDArray[np.int64]
Noise = Callable[[int], Counts]
"""Returns so many independent draws."""


def noised_state(scores: NDArray[np.float64], labels: NDArray[np.int64], bins: int, noise: Noise) -> ScoreState:
    """Returns the state of patients' scores as two noised counts tell it; the rest is computed from these alone.

    Args:
        scores: Probability of malignancy a patient, (P,) in [0, 1].
        labels: 1 malignant, 0 benign, (P,).
        bins: Number of bins of the study.
        noise: Draws what is added to each number. Adding or removing a patient changes one number of the first count
            by one, and one of the second, so with the discrete Gaussian of deviation s a release is
            ``1 / s^2``-zCDP (Canonne, Kamath and Steinke 2020, theorem 14; Bun and Steinke 2016, lemma 2.3).

    Raises:
        DataError: A score or a label is out of range.
    """
    exact = ScoreState.of(scores, labels, bins)
    cuts = _cuts(exact.positives + exact.negatives, noise)
    told = np.searchsorted(cuts, np.arange(bins), side="right")
    middles = (np.concatenate([[0], cuts]) + np.concatenate([cuts, [bins]]) - 1) // 2

    def counted(patients: Counts) -> Counts:
        noised = np.bincount(told, weights=patients, minlength=TOLD).astype(np.int64) + noise(TOLD)
        return np.bincount(middles, weights=_likely(noised), minlength=bins).astype(np.int64)

    return ScoreState(counted(exact.positives), counted(exact.negatives))


def _cuts(patients: Counts, noise: Noise) -> Counts:
    """Returns the ``TOLD - 1`` bins (rising, each in [1, B - 1]) at which a new interval of the second count begins."""
    bins, parts = patients.size, min(SEARCHED, patients.size)
    edges = np.linspace(0, bins, parts + 1).round().astype(np.int64)
    noised = np.add.reduceat(patients, edges[:-1]) + noise(parts)
    share = np.cumsum(np.concatenate([[0.0], _nearest(noised, max(1, int(noised.sum())))]))
    share += 1e-9 * np.arange(parts + 1)  # rising where nobody is, so that each share has one place
    wanted = np.arange(1, TOLD) / TOLD * share[-1]
    return _apart(np.interp(wanted, share, edges).round().astype(np.int64), bins)


def _apart(cuts: Counts, bins: int) -> Counts:
    """Returns the cuts as near as may be, with at least one bin between any two and at both ends."""
    steps = np.arange(cuts.size)
    rising = np.maximum.accumulate(np.maximum(cuts, 1) - steps) + steps
    return np.minimum(rising, bins - cuts.size + steps)


def _likely(noised: Counts) -> Counts:
    """Returns whole counts of at least 0 with the sum that the noised ones have, as near to them as can be."""
    total = max(0, int(noised.sum()))
    parts = _nearest(noised, total)
    whole = np.floor(parts).astype(np.int64)
    missing = total - int(whole.sum())
    whole[np.argsort(whole - parts, kind="stable")[:missing]] += 1
    return whole


def _nearest(values: Counts, total: int) -> NDArray[np.float64]:
    """Returns the point nearest to ``values`` among those of at least 0 that sum to ``total``.

    Euclidean projection onto the simplex (Duchi et al. 2008, figure 1).
    """
    falling = np.sort(values)[::-1].astype(np.float64)
    surplus = (np.cumsum(falling) - total) / np.arange(1, values.size + 1)
    active = np.flatnonzero(falling > surplus)
    if total == 0 or not active.size:
        return np.zeros(values.size)
    nearest: NDArray[np.float64] = np.maximum(values - surplus[active[-1]], 0.0)
    return nearest
