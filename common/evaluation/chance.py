"""What chance alone does to a figure of few patients: the gap of groups that are treated alike, the ECE of true scores.

Both draw from counts: patients of a class are dealt to groups anew, or labels are drawn from the scores.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from common.evaluation.bootstrap import area_of
from common.evaluation.calibration import ece, reliability
from common.evaluation.recalibration import Graded
from common.evaluation.scores import Counts, ScoreState, bin_edges, nearest_edge

DEALS = 400
UNUSUAL = 0.95
Metric = NDArray[np.float64]


def gaps_by_chance(
    groups: Mapping[str, ScoreState], *, threshold: float, seed: int, observed: Mapping[str, float | None]
) -> dict[str, dict[str, float | None]]:
    """Returns for auroc, sensitivity and specificity the gap between these groups if the model treated all alike.

    Keys ``median``, ``high`` (exceeded in 5 % of the deals) and ``p``, the share of deals with at least the observed
    gap: a permutation test (Fisher 1935; one added to both counts, Phipson and Smyth 2010). Patients of each class are
    dealt to groups of the same sizes, so prevalence stays. Null where a gap is not defined.

    Args:
        groups: Of one attribute, with at least two that have the metric.
        threshold: From which score on a patient is called malignant.
        seed: Of the deals.
        observed: The gap that was found, by metric.
    """
    generator = np.random.default_rng(seed)
    dealt = [_deal(groups, threshold, generator) for _ in range(DEALS)]
    return {metric: _summary([row[metric] for row in dealt], observed.get(metric)) for metric in dealt[0]}


def _deal(groups: Mapping[str, ScoreState], threshold: float, generator: np.random.Generator) -> dict[str, float]:
    of_class = {}
    for name in ("positives", "negatives"):
        counts: Counts = sum((getattr(state, name) for state in groups.values()), np.zeros(1, np.int64))
        sizes = [int(getattr(state, name).sum()) for state in groups.values()]
        patients = generator.permutation(np.repeat(np.arange(counts.size), counts))
        parts = np.split(patients, np.cumsum(sizes)[:-1])
        of_class[name] = np.stack([np.bincount(part, minlength=counts.size) for part in parts])
    return _gaps(of_class["positives"], of_class["negatives"], threshold)


def _gaps(positives: Counts, negatives: Counts, threshold: float) -> dict[str, float]:
    bins = positives.shape[1]
    first = int(np.searchsorted(bin_edges(bins), nearest_edge(threshold, bins)))
    with np.errstate(invalid="ignore"):
        found = {
            "auroc": area_of(positives, negatives),
            "sensitivity": positives[:, first:].sum(axis=1) / positives.sum(axis=1),
            "specificity": negatives[:, :first].sum(axis=1) / negatives.sum(axis=1),
        }
    return {name: _range(values) for name, values in found.items()}


def _range(values: Metric) -> float:
    known = values[~np.isnan(values)]
    return float(np.ptp(known)) if known.size > 1 else float("nan")


def _summary(gaps: list[float], observed: float | None) -> dict[str, float | None]:
    known = np.array([gap for gap in gaps if gap == gap])
    if observed is None or not known.size:
        return dict.fromkeys(("median", "high", "p"))
    p = (1 + int((known >= observed - 1e-12).sum())) / (1 + known.size)
    return {"median": float(np.median(known)), "high": float(np.quantile(known, UNUSUAL)), "p": p}


def ece_by_chance(state: ScoreState, seed: int) -> float | None:
    """Returns the mean ECE that these scores would have if each were the patient's true probability; None for nobody.

    Consistency resampling (Broecker and Smith, Weather and Forecasting 22:651, 2007): labels are drawn from the scores.
    """
    graded = Graded.of(state)
    if not graded.patients:
        return None
    generator, patients = np.random.default_rng(seed), graded.positives + graded.negatives
    found = []
    for _ in range(DEALS // 4):
        malignant = generator.binomial(patients, graded.values)
        drawn = Graded(graded.values, malignant, patients - malignant, graded.reach)
        found.append(ece(reliability(drawn, state.bins)))
    return float(np.mean([value for value in found if value is not None]))
