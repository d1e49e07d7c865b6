"""Two models on the same patients: the difference of their AUROCs, paired, and what it says against a margin.

Paired figures need scores patient by patient, so a site makes them itself; the difference, its variance and limits
leave. Over sites the differences are averaged: each compares patients of one site only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.evaluation.bootstrap import MIN_CLASS, ROWS, area_of, count_drawn, percentiles
from common.evaluation.intervals import Floats, newcombe_auroc, z_of
from common.evaluation.metrics import MIN_DELONG

_CELLS = 2_000_000
"""Counts held at once while resampling."""
SAME: Literal["same scores"] = "same scores"
Method = Literal["DeLong", "MOVER", "average of sites", "same scores"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """AUROC of one model less that of another on the same patients, with limits.

    Attributes:
        variance: Of ``value``; where the method is not DeLong's, the one that the limits imply.
        bootstrap: Percentile limits of the paired bootstrap, None without resamples or with under 10 of a class.
        patients: How many were compared.

    Where both models rank all patients alike the difference is exactly 0 by ``same scores``, without an interval:
    variance and limits are 0.
    """

    value: float
    variance: float
    low: float
    high: float
    method: Method
    bootstrap: tuple[float, float] | None
    patients: int


def paired_difference(
    first: Floats, second: Floats, labels: NDArray[np.generic], *, confidence: float, resamples: int, seed: int
) -> Difference | None:
    """Returns the AUROC of ``first`` less that of ``second``; None with fewer than two patients of a class.

    DeLong's paired interval; with fewer than 10 patients of a class, or a variance of 0, MOVER (Zou and Donner, Stat
    Med 27:1693, 2008) on Newcombe's single intervals with DeLong's correlation.

    Args:
        first: Scores (P,) of one model.
        second: Scores (P,) of the other, of the same patients.
        labels: 1 malignant, 0 benign, (P,).
        confidence: Of the limits.
        resamples: Of the paired bootstrap; 0 for none.
        seed: Of the paired bootstrap.
    """
    malignant = labels == 1
    m, n = int(malignant.sum()), int((~malignant).sum())
    if min(m, n) < 2:
        return None
    if _same_order(first, second):
        return Difference(value=0.0, variance=0.0, low=0.0, high=0.0, method=SAME, bootstrap=None, patients=m + n)
    area, covariance = paired_delong(np.stack([first, second]), malignant)
    value = float(area[0] - area[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if min(m, n) >= MIN_DELONG and variance > 0:
        spread = z_of(confidence) * math.sqrt(variance)
        low, high, method = value - spread, value + spread, "DeLong"
    else:
        low, high = _mover(area, covariance, m, n, confidence)
        variance, method = ((high - low) / (2 * z_of(confidence))) ** 2, "MOVER"
    return Difference(
        value=value,
        variance=variance,
        low=max(-1.0, low),
        high=min(1.0, high),
        method="DeLong" if method == "DeLong" else "MOVER",
        bootstrap=paired_bootstrap(first, second, malignant, confidence, resamples, seed)
        if resamples and min(m, n) >= MIN_CLASS
        else None,
        patients=m + n,
    )


def _same_order(first: Floats, second: Floats) -> bool:
    one, other = (np.unique(scores, return_inverse=True)[1] for scores in (first, second))
    return bool(np.array_equal(one, other))


def paired_delong(scores: Floats, malignant: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Returns the AUROCs (S,) of several scores (S, P) of the same patients and their covariance (S, S).

    DeLong, DeLong and Clarke-Pearson, Biometrics 44:837 (1988), equations 2-6, ties one half. The placements come from
    ranks (Sun and Xu, IEEE Signal Process Lett 21:1389, 2014), so it takes O(S P log P).
    """
    m, n = int(malignant.sum()), int((~malignant).sum())
    of_malignant, of_benign = np.empty((len(scores), m)), np.empty((len(scores), n))
    for row, values in enumerate(scores):
        cells = np.unique(values, return_inverse=True)[1]
        positives, negatives = (np.bincount(cells[side], minlength=cells.max() + 1) for side in (malignant, ~malignant))
        of_malignant[row] = ((np.cumsum(negatives) - 0.5 * negatives) / n)[cells[malignant]]
        of_benign[row] = ((m - np.cumsum(positives) + 0.5 * positives) / m)[cells[~malignant]]
    covariance = np.atleast_2d(np.cov(of_malignant)) / m + np.atleast_2d(np.cov(of_benign)) / n
    return of_malignant.mean(axis=1), covariance


def paired_bootstrap(
    first: Floats, second: Floats, malignant: NDArray[np.bool_], confidence: float, resamples: int, seed: int
) -> tuple[float, float] | None:
    """Returns percentile limits of the difference; both models see the same resampled patients.

    None where over 5 % of the resamples hold one class only.
    """
    values = paired_replicates(first, second, malignant, resamples, seed)
    low, high = (
        float(limit) for limit in percentiles(values, confidence, int(min(malignant.sum(), (~malignant).sum())))
    )
    return None if math.isnan(low) or math.isnan(high) else (low, high)


def paired_replicates(first: Floats, second: Floats, malignant: NDArray[np.bool_], resamples: int, seed: int) -> Floats:
    """Returns the difference of the AUROCs in each resample of the patients, (R,); NaN with one class."""
    # A patient is a cell of her own: counts of drawn patients serve both models, each in its own order.
    cells = [np.unique(values, return_inverse=True)[1] for values in (first, second)]
    generator = np.random.default_rng(seed)
    rows = max(1, min(ROWS, _CELLS // malignant.size))
    found = []
    for start in range(0, resamples, rows):
        drawn = count_drawn(np.arange(malignant.size), min(rows, resamples - start), malignant.size, generator)
        one, other = (area_of(*_by_score(drawn, of_score, malignant)) for of_score in cells)
        found.append(one - other)
    return np.concatenate(found)


def average(
    differences: Mapping[str, Difference], confidence: float, pairs: Mapping[str, int] | None = None
) -> Difference | None:
    """Returns the mean of the sites' differences; None without any.

    Sites are independent and fixed: the interval covers the draw of patients, not the choice of sites.

    Args:
        differences: By site.
        confidence: Of the limits.
        pairs: Pairs of a malignant and a benign patient of each site, by which it counts: the mean is then the
            difference of the two models' :func:`common.evaluation.within_sites.within_sites`. None: by patients.
    """
    if not differences:
        return None
    weights = {site: pairs[site] if pairs else difference.patients for site, difference in differences.items()}
    patients = sum(difference.patients for difference in differences.values())
    share = np.array([weights[site] for site in differences], dtype=np.float64)
    share /= share.sum()
    value = float(share @ [difference.value for difference in differences.values()])
    variance = float(share**2 @ [difference.variance for difference in differences.values()])
    spread = z_of(confidence) * math.sqrt(variance)
    return Difference(
        value=value,
        variance=variance,
        low=max(-1.0, value - spread),
        high=min(1.0, value + spread),
        method=SAME if all(one.method == SAME for one in differences.values()) else "average of sites",
        bootstrap=None,
        patients=patients,
    )


def against_margin(difference: Difference, margin: float) -> dict[str, Any]:
    """Returns the difference with what it shows against a margin, as ``evaluation.json`` has it.

    ``superior``: the interval is above 0. ``non_inferior``: it is above ``-margin``. ``equivalent``: it is within the
    margin on both sides (two one-sided tests, Schuirmann 1987, each at half of 1 - confidence).
    """
    low, high = difference.low, difference.high
    return {
        "value": difference.value,
        "low": low,
        "high": high,
        "method": difference.method,
        "bootstrap": dict(zip(("low", "high"), difference.bootstrap or (None, None), strict=True)),
        "patients": difference.patients,
        "superior": low > 0,
        "non_inferior": low > -margin,
        "equivalent": low > -margin and high < margin,
    }


def _by_score(
    drawn: NDArray[np.int64], of_score: NDArray[np.intp], malignant: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns malignant and benign counts (R, K) over the scores' distinct values, from patient counts (R, P)."""
    order = np.argsort(of_score, kind="stable")
    starts = np.flatnonzero(np.diff(of_score[order], prepend=-1))
    counts = drawn[:, order]
    of_malignant = np.add.reduceat(counts * malignant[order], starts, axis=1)
    return of_malignant, np.add.reduceat(counts, starts, axis=1) - of_malignant


def _mover(area: Floats, covariance: Floats, m: int, n: int, confidence: float) -> tuple[float, float]:
    one, other = (newcombe_auroc(min(1.0, max(0.0, float(value))), m, n, confidence) for value in area)
    scale = math.sqrt(covariance[0, 0] * covariance[1, 1])
    correlation = float(covariance[0, 1]) / scale if scale > 0 else 0.0
    value = one.value - other.value

    def reach(own: float, others: float) -> float:
        return math.sqrt(max(0.0, own**2 - 2 * correlation * own * others + others**2))

    low = value - reach(one.value - one.low, other.high - other.value)
    high = value + reach(one.high - one.value, other.value - other.low)
    return low, high
