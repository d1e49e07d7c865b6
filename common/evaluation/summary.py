"""All metrics of a group of patients as the JSON object of ``evaluation.json``; ``docs/metrics.md`` explains each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from common.evaluation import bootstrap, metrics
from common.evaluation.calibration import summarise_calibration
from common.evaluation.chance import ece_by_chance
from common.evaluation.decision import net_benefit
from common.evaluation.intervals import Floats, Interval
from common.evaluation.metrics import Confusion
from common.evaluation.scores import ScoreState, bin_edges, nearest_edge

SPECIFICITY = 0.9
FPR = np.linspace(0.0, 1.0, 51)
RECALL = np.linspace(0.02, 1.0, 50)
"""Where the bands around the ROC and the precision-recall curve are given."""
Limits = dict[str, float | None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How a summary is made.

    Attributes:
        confidence: Of every interval.
        resamples: Bootstrap resamples; 0 for none.
        seed: Of the bootstrap.
        specificity: At which sensitivity is read off the ROC curve.
        noised: Whether counts hold noise: no bound on the error of binning holds for them.
    """

    confidence: float = 0.95
    resamples: int = 0
    seed: int = 0
    specificity: float = SPECIFICITY
    noised: bool = False


def summarise(
    state: ScoreState,
    *,
    threshold: float,
    measure: Measure | None = None,
    strata: Mapping[str, ScoreState] | None = None,
    counts: Confusion | None = None,
    bands: bool = False,
) -> dict[str, Any]:
    """Returns all metrics of the patients of ``state``.

    Args:
        state: Score counts of all these patients.
        threshold: From which score on a patient is called malignant.
        measure: How intervals are made.
        strata: The sites that ``state`` is the sum of; the bootstrap draws within each.
        counts: The confusion, where the sites have thresholds of their own.
        bands: Whether the ROC and precision-recall curves get their bands.
    """
    how = measure or Measure()
    table = counts or metrics.confusion(state, threshold)
    limits = _Bootstrap(state, strata or {"": state}, threshold, how, bands, own_thresholds=counts is not None)
    area = metrics.auroc_interval(state, how.confidence)
    at = metrics.sensitivity_at_specificity(state, how.specificity)
    calibration = summarise_calibration(state, how.confidence)
    errors = _binning_errors(state, strata or {"": state}, how)
    return {
        "patients": state.patients,
        "malignant": state.malignant,
        "benign": state.benign,
        "majority_share": max(state.malignant, state.benign) / state.patients if state.patients else None,
        "auroc": {
            **_limits(area),
            "method": area.method if area else "DeLong",
            "binning_error": errors["auroc"],
            "bootstrap": limits.of("auroc"),
        },
        **{name: _limits(rate) for name, rate in metrics.rates(table, how.confidence).items()},
        "f1": {"value": metrics.f1(table), **limits.of("f1")},
        "confusion": dataclasses.asdict(table),
        "roc": metrics.roc_points(state) | limits.band("roc"),
        "auprc": {
            "value": metrics.auprc(state),
            **limits.of("auprc"),
            "binning_error": errors["auprc"],
        },
        "pr": metrics.pr_points(state) | limits.band("pr"),
        "balanced_accuracy": {"value": metrics.balanced_accuracy(table), **limits.of("balanced_accuracy")},
        "sensitivity_at_specificity": {
            "specificity": how.specificity,
            **(
                (at | {"binning_error": errors["sensitivity"]})
                if at
                else dict.fromkeys(("value", "threshold", "binning_error"))
            ),
            **limits.of("sensitivity_at_specificity"),
        },
        **calibration,
        "brier": calibration["brier"] | {"binning_error": errors["brier"]} | limits.of("brier"),
        "ece": calibration["ece"] | {"binning_error": errors["ece"], "by_chance": ece_by_chance(state, how.seed)},
        "net_benefit": net_benefit(state),
    }


def _binning_errors(state: ScoreState, strata: Mapping[str, ScoreState], how: Measure) -> dict[str, float | None]:
    """Returns how far each figure may lie from that of the scores themselves; None where no bound is known.

    A site tells groups of patients as one (:func:`common.evaluation.scores.coarsened`). At one site the order of groups
    is right, so figures of order keep their bound; values have none, nor has the order over several sites.
    """
    grouped = any(part.is_grouped for part in strata.values())
    if how.noised or (grouped and len(strata) > 1):
        return dict.fromkeys(("auroc", "auprc", "sensitivity", "brier", "ece"))
    at = metrics.sensitivity_at_specificity(state, how.specificity)
    calibration = summarise_calibration(state, how.confidence)
    return {
        "auroc": metrics.auroc_binning_error(state) or 0.0,
        "auprc": metrics.auprc_binning_error(state) or 0.0,
        "sensitivity": at["binning_error"] if at else None,
        "brier": None if grouped else calibration["brier"]["binning_error"],
        "ece": None if grouped else calibration["ece"]["binning_error"],
    }


class _Bootstrap:
    """Percentile limits by name; None where there were no resamples or too few with a value."""

    def __init__(
        self, state: ScoreState, strata: Mapping[str, ScoreState], threshold: float, how: Measure, bands: bool,
        own_thresholds: bool,
    ) -> None:  # fmt: skip
        first = int(np.searchsorted(bin_edges(state.bins), nearest_edge(threshold, state.bins)))
        wanted: dict[str, bootstrap.Statistic] = {
            "auroc": bootstrap.areas,
            "auprc": bootstrap.average_precisions,
            "brier": bootstrap.brier_scores(state.bins),
            "sensitivity_at_specificity": bootstrap.sensitivities(how.specificity),
        }
        if not own_thresholds:
            wanted["at_threshold"] = bootstrap.at_threshold(first)
        if bands:
            wanted |= {"roc": bootstrap.roc_at(FPR), "pr": bootstrap.precision_at(RECALL)}
        self._limits: dict[str, tuple[Floats, Floats]] = {}
        fewest = min(state.malignant, state.benign)
        if how.resamples and fewest >= bootstrap.MIN_CLASS:
            found = bootstrap.distribution(strata, list(wanted.values()), how.resamples, how.seed)
            self._limits = {
                name: bootstrap.percentiles(values, how.confidence, fewest)
                for name, values in zip(wanted, found, strict=True)
            }
        if "at_threshold" in self._limits:
            low, high = self._limits.pop("at_threshold")
            self._limits |= {
                "balanced_accuracy": (low[..., 0], high[..., 0]),
                "f1": (low[..., 1], high[..., 1]),
            }

    def of(self, name: str) -> Limits:
        """Returns low and high."""
        if name not in self._limits:
            return {"low": None, "high": None}
        low, high = (float(limit) for limit in self._limits[name])
        return {"low": None, "high": None} if np.isnan(low) or np.isnan(high) else {"low": low, "high": high}

    def band(self, name: str) -> dict[str, Any]:
        """Returns the band of a curve under ``band``; nothing when there is none."""
        if name not in self._limits:
            return {}
        low, high = (np.nan_to_num(limit, nan=-1.0) for limit in self._limits[name])
        axis = {"roc": ("fpr", FPR), "pr": ("recall", RECALL)}[name]
        known = (low >= 0) & (high >= 0)
        return {"band": {axis[0]: axis[1][known].tolist(), "low": low[known].tolist(), "high": high[known].tolist()}}


def brief(state: ScoreState, threshold: float, confidence: float) -> dict[str, float | None]:
    """Returns AUROC, accuracy, sensitivity and specificity without intervals: a round's line."""
    found = metrics.rates(metrics.confusion(state, threshold), confidence)
    values = {name: found[name] for name in ("accuracy", "sensitivity", "specificity")}
    return {
        "auroc": metrics.auroc(state),
        **{name: rate.value if rate is not None else None for name, rate in values.items()},
    }


def _limits(interval: Interval | None) -> Limits:
    if interval is None:
        return {"value": None, "low": None, "high": None}
    return {"value": interval.value, "low": interval.low, "high": interval.high}
