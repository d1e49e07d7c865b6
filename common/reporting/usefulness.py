"""What a model's probabilities are good for, in sentences: are they right, and from which to which do they help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLINICAL = (0.02, 0.5)
"""Threshold probabilities at which a clinician would act: a biopsy is advised from about 2 % (BI-RADS 4) on."""


def calibration_sentences(block: Mapping[str, Any]) -> list[str]:
    """Returns what is shown to be wrong with the probabilities of a model; nothing where nothing is shown."""
    found, lines = block.get("calibration") or {}, []
    slope, large = found.get("slope") or {}, found.get("in_the_large") or {}
    if _above(slope, 1):
        lines.append(
            f"Its probabilities are too timid: true risks differ more than they say (slope {_figures(slope)})."
        )
    elif _below(slope, 1):
        lines.append(f"Its probabilities are too extreme: true risks differ less (slope {_figures(slope)}).")
    if _above(large, 0):
        lines.append(f"On average they are too low (calibration in the large {_figures(large)}, right is 0).")
    elif _below(large, 0):
        lines.append(f"On average they are too high (calibration in the large {_figures(large)}, right is 0).")
    return [*lines, "Do not read them as probabilities before they are recalibrated."] if lines else []


def recalibration_sentence(released: Mapping[str, Any]) -> str:
    """Returns what goes with the released weights so that their scores are read rightly."""
    if not released:
        return ""
    if released["method"] == "none":
        return (
            "The released model is not recalibrated: validation patients do not determine a line (too few, one class, "
            "or no order)."
        )
    slope = (released.get("calibration") or {}).get("slope") or {}
    after = f", slope then {_figures(slope)}" if slope.get("low") is not None else ""
    return (
        f"With the weights goes a recalibration, fitted on {released['validation_patients']} validation patients of "
        f"all sites (model/calibration.json): on these test patients ECE is then {released['ece']:.3f}{after}."
    )


def usefulness(block: Mapping[str, Any]) -> str:
    """Returns at which threshold probabilities following the model is better than treating all patients alike."""
    low, high = CLINICAL
    curve = block.get("net_benefit") or {}
    points = list(zip(*(curve.get(key, ()) for key in ("threshold", "model", "all")), strict=True))
    known = [(at, model, everyone) for at, model, everyone in points if low <= at <= high and model is not None]
    if not known:
        return ""
    better = [at for at, model, everyone in known if model > max(0.0, everyone or 0.0) + 1e-9]
    if not better:
        return (
            f"At no threshold from {low:g} to {high:g} is following the model better than treating all patients alike: "
            "as it stands it is of no use for such a decision."
        )
    beyond = f" Above {max(better):.2g} it is of no use." if max(better) < max(at for at, *_ in known) else ""
    return (
        f"In this sample following the model is better than treating all patients alike at thresholds between "
        f"{min(better):.2g} and {max(better):.2g}.{beyond}"
    )


def _above(interval: Mapping[str, Any], right: float) -> bool:
    return interval.get("low") is not None and interval["low"] > right


def _below(interval: Mapping[str, Any], right: float) -> bool:
    return interval.get("high") is not None and interval["high"] < right


def _figures(interval: Mapping[str, Any]) -> str:
    return f"{interval['value']:.2f}, {interval['low']:.2f} to {interval['high']:.2f}"
