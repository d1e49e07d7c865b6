"""Metrics of a :class:`ScoreState`: discrimination, and rates at a threshold.

A patient is called malignant when the score reaches the threshold. Counts are known at bin edges only, so the
threshold used is :func:`~common.evaluation.scores.nearest_edge` of the one asked for (0.5 is an edge itself).
A metric that its counts leave undefined (one class only, nobody called malignant) is None, never 0 or 0.5.
No I/O, no plotting, no raw scores.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from common.evaluation.intervals import Floats, Interval, logit_limits, newcombe_auroc, wilson
from common.evaluation.scores import Counts, ScoreState, bin_edges, nearest_edge

ROC_POINTS = 200
MIN_DELONG = 10
"""Fewest patients of either class for DeLong's variance, which is an average over that many placements."""


@dataclasses.dataclass(frozen=True, slots=True)
class Confusion:
    """Patients by truth and call at one threshold."""

    tp: int
    fp: int
    tn: int
    fn: int


def auroc(state: ScoreState) -> float | None:
    """Returns the area under the ROC curve, ties counted one half; None with one class only.

    Differs from the area of the unbinned scores by at most :func:`auroc_binning_error`.
    """
    if not _both_classes(state):
        return None
    return float(delong(state.positives, state.negatives)[0])


def auroc_binning_error(state: ScoreState) -> float | None:
    """Returns a proved bound on ``|auroc(state) - area of the unbinned scores|``; None with one class only.

    Binning keeps the order of scores in different bins, and a pair in one bin counts 1/2 where the truth is
    0, 1/2 or 1. So the error is at most (pairs of both classes that share a bin) / (2 n_pos n_neg).
    """
    if not _both_classes(state):
        return None
    shared = sum(int(p) * int(n) for p, n in zip(state.positives, state.negatives, strict=True) if p and n)
    return shared / (2 * state.malignant * state.benign)


def delong(positives: Counts, negatives: Counts) -> tuple[Floats, Floats]:
    """Returns AUROC and its variance from histograms (..., B) that hold both classes; both (...).

    DeLong, DeLong and Clarke-Pearson, Biometrics 44:837 (1988), equations 2-6, ties one half. Patients of a bin
    share one placement, so sums over patients are sums over bins: exact for binned scores, O(B).
    The variance is NaN where a class has one patient.
    """
    m, n = positives.sum(-1, keepdims=True), negatives.sum(-1, keepdims=True)
    below = (np.cumsum(negatives, -1) - 0.5 * negatives) / n
    above = (m - np.cumsum(positives, -1) + 0.5 * positives) / m
    # In whole numbers up to one division: at most 2 * 10**18, which int64 holds.
    area = (positives * (2 * np.cumsum(negatives, -1) - negatives)).sum(-1, keepdims=True) / (2 * m * n)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_positives = (positives * (below - area) ** 2).sum(-1, keepdims=True) / (m - 1)
        spread_negatives = (negatives * (above - area) ** 2).sum(-1, keepdims=True) / (n - 1)
        variance = spread_positives / m + spread_negatives / n
    return area[..., 0], variance[..., 0]


def auroc_interval(state: ScoreState, confidence: float = 0.95) -> Interval | None:
    """Returns AUROC with limits; None with one class only.

    DeLong's variance in log-odds; with an area of exactly 0 or 1, a variance of 0 or fewer than 10 patients of
    a class, the wider Newcombe interval, named in ``method``.
    """
    if not _both_classes(state):
        return None
    area, variance = delong(state.positives, state.negatives)
    value = min(1.0, max(0.0, float(area)))
    if not 0 < value < 1 or not variance > 0 or min(state.malignant, state.benign) < MIN_DELONG:
        return newcombe_auroc(value, state.malignant, state.benign, confidence)
    low, high = logit_limits(area, variance, confidence)
    return Interval(value, float(low), float(high), "DeLong")


def auprc(state: ScoreState) -> float | None:
    """Returns average precision, the step-wise area under precision against recall; None with one class only.

    ``sum (R_k - R_{k-1}) P_k`` from the highest bin down, without the optimistic linear interpolation
    (Davis and Goadrich, ICML 2006).
    """
    if not _both_classes(state):
        return None
    hits, calls = _from_top(state.positives), _from_top(state.positives + state.negatives)
    precision = hits / np.maximum(calls, 1)
    return float((state.positives[::-1] * precision).sum() / state.malignant)


def auprc_binning_error(state: ScoreState) -> float | None:
    """Returns a proved bound on ``|auprc(state) - average precision of the unbinned scores|``; None with one class.

    Take a bin of p malignant and q benign patients below a and b others. Whatever their order inside the bin, the j-th
    malignant of it stands at j or more hits (ties) and at 0 to q alarms more, so its precision is between
    ``(a + j) / (a + j + b + q)`` and ``(a + p) / (a + p + b)``. The binned value ``(a + p) / (a + p + b + q)`` lies in
    between. The bound is the larger of the two distances, summed over bins, over the number of malignant patients.
    """
    if not _both_classes(state):
        return None
    from scipy.special import digamma

    p, q = state.positives[::-1].astype(np.float64), state.negatives[::-1].astype(np.float64)
    a, b = np.cumsum(p) - p, np.cumsum(q) - q
    p, q, a, b = (part[p > 0] for part in (p, q, a, b))
    binned, highest = p * (a + p) / (a + p + b + q), p * (a + p) / (a + p + b)
    # sum of (a + j) / (a + j + c) over j = 1..p, by the recurrence of digamma
    c = b + q
    lowest = p - c * (digamma(a + p + c + 1) - digamma(a + c + 1))
    return float(max((highest - binned).sum(), (binned - lowest).sum()) / state.malignant)


def sensitivity_at_specificity(state: ScoreState, specificity: float) -> dict[str, float] | None:
    """Returns the largest sensitivity of a threshold whose specificity is at least the one asked; None with one class.

    Keys ``value``, ``threshold`` and ``binning_error``. Thresholds are bin edges here; among all thresholds the largest
    sensitivity is at least ``value`` and less than that of the next edge below, which already has too many alarms.
    """
    if not _both_classes(state):
        return None
    hits = np.concatenate([[0], _from_top(state.positives)])
    alarms = np.concatenate([[0], _from_top(state.negatives)])
    last = int(np.searchsorted(alarms, allowed_alarms(state.benign, specificity), side="right")) - 1
    below = min(last + 1, hits.size - 1)
    return {
        "value": int(hits[last]) / state.malignant,
        "threshold": float(bin_edges(state.bins)[::-1][last]),
        "binning_error": int(hits[below] - hits[last]) / state.malignant,
    }


def allowed_alarms(benign: int, specificity: float) -> int:
    """Returns how many benign patients may be called malignant at this specificity."""
    # 1 - 0.9 is not 0.1 in binary; a patient must not be lost to that.
    return int(np.floor(benign * (1 - specificity) + 1e-9))


def confusion(state: ScoreState, threshold: float) -> Confusion:
    """Returns the counts when scores from ``nearest_edge(threshold)`` up are called malignant."""
    first = int(np.searchsorted(bin_edges(state.bins), nearest_edge(threshold, state.bins)))
    tp, fp = int(state.positives[first:].sum()), int(state.negatives[first:].sum())
    return Confusion(tp=tp, fp=fp, tn=state.benign - fp, fn=state.malignant - tp)


def rates(counts: Confusion, confidence: float) -> dict[str, Interval | None]:
    """Returns accuracy, sensitivity, specificity, PPV and NPV, and precision and recall, with Wilson limits."""
    tp, fp, tn, fn = dataclasses.astuple(counts)
    sensitivity, ppv = wilson(tp, tp + fn, confidence), wilson(tp, tp + fp, confidence)
    return {
        "accuracy": wilson(tp + tn, tp + tn + fp + fn, confidence),
        "sensitivity": sensitivity,
        "specificity": wilson(tn, tn + fp, confidence),
        "precision": ppv,
        "recall": sensitivity,
        "ppv": ppv,
        "npv": wilson(tn, tn + fn, confidence),
    }


def f1(counts: Confusion) -> float | None:
    """Returns ``2 tp / (2 tp + fp + fn)``; None when nobody is malignant and nobody is called so."""
    denominator = 2 * counts.tp + counts.fp + counts.fn
    return 2 * counts.tp / denominator if denominator else None


def balanced_accuracy(counts: Confusion) -> float | None:
    """Returns the mean of sensitivity and specificity; None with one class only."""
    malignant, benign = counts.tp + counts.fn, counts.tn + counts.fp
    if not malignant or not benign:
        return None
    return 0.5 * (counts.tp / malignant + counts.tn / benign)


def log_loss(state: ScoreState) -> float:
    """Returns the mean negative log-likelihood of the labels, each score taken as the middle of its bin; in nats."""
    edges = bin_edges(state.bins)
    middle = (edges[1:] + edges[:-1]) / 2
    total = -(state.positives @ np.log(middle) + state.negatives @ np.log1p(-middle))
    return float(total / max(1, state.patients))


def roc_points(state: ScoreState, limit: int = ROC_POINTS) -> dict[str, list[float]]:
    """Returns at most ``limit`` points of the ROC curve as ``fpr``, ``tpr``, ``threshold``; empty with one class.

    From (0, 0), where the threshold is 1 and nobody is called malignant, to (1, 1). Points inside a straight run
    are dropped; of what remains, points nearest to equal steps along the curve are kept, so a dropped point is
    within ``2 / (limit - 1)`` of a kept one in ``|fpr| + |tpr|``.
    """
    if not _both_classes(state):
        return {"fpr": [], "tpr": [], "threshold": []}
    hits = np.concatenate([[0], _from_top(state.positives)])
    alarms = np.concatenate([[0], _from_top(state.negatives)])
    kept = _thin(hits / state.malignant + alarms / state.benign, _corners(hits, alarms), limit)
    return {
        "fpr": (alarms[kept] / state.benign).tolist(),
        "tpr": (hits[kept] / state.malignant).tolist(),
        "threshold": bin_edges(state.bins)[::-1][kept].tolist(),
    }


def pr_points(state: ScoreState, limit: int = ROC_POINTS) -> dict[str, list[float]]:
    """Returns at most ``limit`` points of precision against recall as ``recall``, ``precision``; empty with one class.

    One point for each bin that holds malignant patients, thinned to nearly equal steps of recall; the last is recall 1.
    The curve between two points is not a straight line (Davis and Goadrich, ICML 2006): draw it as steps.
    """
    if not _both_classes(state):
        return {"recall": [], "precision": []}
    hits, calls = _from_top(state.positives), _from_top(state.positives + state.negatives)
    new = np.flatnonzero(state.positives[::-1])
    if new.size > limit:
        wanted = np.linspace(hits[new[0]], state.malignant, limit)
        new = new[np.unique(np.searchsorted(hits[new], wanted))]
    return {"recall": (hits[new] / state.malignant).tolist(), "precision": (hits[new] / calls[new]).tolist()}


def _both_classes(state: ScoreState) -> bool:
    return state.malignant > 0 and state.benign > 0


def _from_top(counts: Counts) -> Counts:
    return np.cumsum(counts[::-1])


def _corners(hits: Counts, alarms: Counts) -> Counts:
    """Returns the indices of the curve's ends and of the points where its direction changes."""
    moved = np.flatnonzero((np.diff(hits) > 0) | (np.diff(alarms) > 0)) + 1
    index = np.concatenate([[0], moved])
    up, right = np.diff(hits[index]), np.diff(alarms[index])
    turns = up[1:] * right[:-1] != up[:-1] * right[1:]
    return np.concatenate([index[:1], index[1:-1][turns], index[-1:]])


def _thin(position: Floats, index: Counts, limit: int) -> Counts:
    if index.size <= limit:
        return index
    wanted = np.linspace(0.0, 2.0, limit)
    right = np.clip(np.searchsorted(position[index], wanted), 1, index.size - 1)
    left_is_nearer = wanted - position[index[right - 1]] < position[index[right]] - wanted
    return np.asarray(index[np.unique(right - left_is_nearer)])
