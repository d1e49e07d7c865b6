"""The AUROC of patients who are compared within their own site only, over all sites.

Where each site has a model of its own, scores of two sites are on two scales, and ranking them together measures
nothing. So each site's area counts by its pairs of a malignant and a benign patient: the share of all such pairs,
both of one site, that the site's model ranks rightly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from common.evaluation.intervals import Interval
from common.evaluation.metrics import auroc_interval
from common.evaluation.scores import ScoreState

METHOD = "MOVER over sites"
MIXED = ("auroc", "roc", "auprc", "pr", "sensitivity_at_specificity", "ece", "calibration", "reliability")
"""Figures of a summary that put scores of all patients on one scale."""


def pairs(state: ScoreState) -> int:
    """Returns how many pairs of a malignant and a benign patient there are."""
    return state.malignant * state.benign


def within_sites(states: Mapping[str, ScoreState], confidence: float) -> dict[str, Any]:
    """Returns ``value``, ``low`` and ``high`` of the pair-weighted AUROC, ``pairs`` and ``sites`` that have some.

    Sites are fixed strata and independent. Limits recover each site's own (:func:`auroc_interval`), which hold for few
    patients and perfect areas too: ``A - sqrt(sum w^2 (A_s - low_s)^2)`` and alike above (MOVER; Zou and Donner, Stat
    Med 27:1693, 2008, section 2). All null where no site has both classes.
    """
    areas = {site: area for site, state in states.items() if (area := auroc_interval(state, confidence))}
    total = sum(pairs(states[site]) for site in areas)
    found = {"pairs": total, "sites": sorted(areas), "method": METHOD}
    if not areas:
        return dict.fromkeys(("value", "low", "high")) | found
    shares = {site: pairs(states[site]) / total for site in areas}
    value = sum(shares[site] * area.value for site, area in areas.items())
    below, above = (_reach(shares, areas, side) for side in ("low", "high"))
    return {"value": value, "low": max(0.0, value - below), "high": min(1.0, value + above)} | found


def _reach(shares: Mapping[str, float], areas: Mapping[str, Interval], side: str) -> float:
    return math.hypot(*(shares[site] * (getattr(area, side) - area.value) for site, area in areas.items()))


def without_mixed(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a summary of patients of several models without the figures that would mix the models' scales.

    What is left are counts, rates at each model's own threshold, and means over patients: Brier score, net benefit.
    """
    return dict(summary) | {name: _emptied(summary[name]) for name in MIXED}


def _emptied(figure: Any) -> Any:
    if isinstance(figure, Mapping):
        return {key: value if key in ("method", "groups", "specificity") else _emptied(value)
                for key, value in figure.items() if key != "band"}  # fmt: skip
    return [] if isinstance(figure, list) else None
