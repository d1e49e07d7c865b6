"""What the sections of a run's page show, picked from the run's files; nothing is computed from scores here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.evaluation.chance import UNUSUAL
from common.reporting.advice import IN_A_CELL, outcome_alone
from common.runs.run_files import RunFiles

POOLED = "pooled"
NOTHING: Mapping[str, Any] = {"value": None, "low": None, "high": None}
MODELS = (
    ("public", "Public checkpoint"), ("local", "At home"), ("federated", "Federated"),
    ("personalised", "Home + federation"),
)  # fmt: skip
RECALIBRATIONS = (("none", "as it is"), ("temperature", "temperature"), ("platt", "Platt"))
OUTCOMES = {
    "all": "all", "tp": "true positives", "fp": "false positives", "tn": "true negatives", "fn": "false negatives",
    "malignant": "malignant", "benign": "benign", "other": "others together",
}  # fmt: skip
MEASURES = {
    "pointing": "Maximum in<br>the lesion", "energy": "Share in<br>the lesion", "iou": "IoU with<br>the lesion",
    "border": "Share at<br>the border", "corner": "Share in<br>the corners",
    "overlay": "Share on<br>burned-in letters",
}  # fmt: skip


def value_of_federating(files: RunFiles) -> dict[str, Any]:
    """Returns the models with an AUROC, a row a site and one pooled, the margin, and the spread in words."""
    models = [{"name": name, "title": title} for name, title in MODELS if files.model(name)]
    told = len(models) > 1 or any(files.own_release(site) for site in files.sites)
    sites = [*files.sites, POOLED] if told else []
    rows = [_value_row(files, site, [model["name"] for model in models]) for site in sites]
    margin = (files.evaluation or {}).get("margin", 0.0)
    return {"models": models, "rows": rows, "margin": margin, "spread": _spread(files)}


def outside(files: RunFiles) -> list[dict[str, Any]]:
    """Returns a row for each hospital that took no part: both models' AUROC, their difference, and it in words."""
    sites: Mapping[str, Mapping[str, Any]] = (files.outside or {}).get("sites", {})
    return [
        {"site": name, "patients": row["patients"], "federated": row["federated"] or NOTHING,
         "public": row["public"], "difference": row["difference"], "words": IN_A_CELL[row["verdict"]]}
        for name, row in sites.items()
    ]  # fmt: skip


def area_of(files: RunFiles, model: str, site: str) -> Mapping[str, Any]:
    """Returns ``value``, ``low`` and ``high`` of a model's AUROC at a site, or within all; None where not measured."""
    if site == POOLED:
        return files.within(model)
    found = files.model(model).get("sites", {}).get(site)
    area = (found or {}).get("auroc") or NOTHING
    return {key: area[key] for key in NOTHING}


def _value_row(files: RunFiles, site: str, models: list[str]) -> dict[str, Any]:
    difference = files.difference(site)
    areas = {model: area_of(files, model, site) for model in models}
    own = files.own_release(site)
    if "verdict" in own:
        difference = own.get("differences", {}).get("federated_minus_local")
    words = _in_words(own) or (_against_margin(difference) if site == POOLED else IN_A_CELL[outcome_alone(files, site)])
    return {"site": site, "areas": areas, "difference": difference, "words": words}


def _in_words(own: Mapping[str, Any]) -> str:
    """Returns what a hospital says for itself; empty where it lets its figures speak."""
    match own.get("level"):
        case "none":
            return "not released by the hospital"
        case "verdict":
            return f"the hospital says: {own['verdict']}"
        case "rounded":
            return f"the hospital says: {own['verdict']}; figures rounded to 0.05"
        case _:
            return ""


def _against_margin(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return "not measured"
    words = [
        word for key, word in
        (("superior", "better"), ("non_inferior", "non-inferior"), ("equivalent", "equivalent")) if difference.get(key)
    ]  # fmt: skip
    if words:
        return ", ".join(words)
    return "worse" if difference["high"] < 0 else "undecided: too few patients"


def _spread(files: RunFiles) -> str:
    found = (files.evaluation or {}).get("spread", {}).get("federated") or {}
    if not found.get("worst") or found.get("range") is None:
        return ""
    worst, best = found["worst"], found["best"]
    return (
        f"Worst site: {worst['site']} ({worst['auroc']:.3f}); best: {best['site']} ({best['auroc']:.3f}); range "
        f"{found['range']:.3f}. Small sites differ by chance alone."
    )


def calibration_rows(files: RunFiles) -> dict[str, Any] | None:
    """Returns Brier score and ECE of each recalibration by site; None where nothing was recalibrated."""
    block = (files.evaluation or {}).get("recalibration") or {}
    rows = [(site, found) for site, found in block.get("sites", {}).items() if found]
    if not rows:
        return None
    rows += [(POOLED, block[POOLED])] if block.get(POOLED) else []
    return {"kinds": [title for _, title in RECALIBRATIONS], "rows": [_calibration_row(*row) for row in rows]}


def _calibration_row(site: str, found: Mapping[str, Any]) -> dict[str, Any]:
    def of(measure: str) -> list[float | None]:
        return [(found.get(kind) or {}).get(measure) for kind, _ in RECALIBRATIONS]

    return {"site": site, "patients": found.get("validation_patients"), "brier": of("brier"), "ece": of("ece")}


def subgroups(files: RunFiles) -> dict[str, Any] | None:
    """Returns the fairness table by attribute; None where no group was large enough to leave its site."""
    block = (files.evaluation or {}).get("fairness") or {}
    attributes = [
        {"name": name, "rows": list(found["groups"].items()), "gap": _gap(found)}
        for name, found in block.get("attributes", {}).items()
        if found["groups"]
    ]
    return {"min_group": block["min_group"], "attributes": attributes} if attributes else None


def _gap(found: Mapping[str, Any]) -> str:
    parts = [
        f"{words} {gap['value']:.3f} (lowest: {gap['lowest']}, highest: {gap['highest']}{_beside(gap)})"
        for key, words in (("auroc", "AUROC"), ("sensitivity", "sensitivity"), ("specificity", "specificity"))
        if (gap := found.get("gaps", {}).get(key)) and gap.get("value") is not None
    ]
    return f"Largest gap between groups: {'; '.join(parts)}." if parts else ""


def _beside(gap: Mapping[str, Any]) -> str:
    """Returns a gap beside what chance alone gives; empty where that is not known."""
    by_chance = gap.get("by_chance") or {}
    if by_chance.get("median") is None:
        return ""
    unusual = "more than chance gives" if by_chance["p"] <= 1 - UNUSUAL else "no more than chance gives"
    return (
        f"; {unusual}: groups of these sizes, treated alike, differ by {by_chance['median']:.3f} as often as not, and "
        f"by more than {by_chance['high']:.3f} once in {1 / (1 - UNUSUAL):.0f} times"
    )


def attention(files: RunFiles) -> dict[str, Any] | None:
    """Returns the heatmaps' measures by outcome; None where the run was not explained."""
    if files.explanation is None:
        return None
    pooled, sanity = files.explanation["pooled"], files.explanation.get("sanity")
    rows = [_attention_row(words, pooled[key]) for key, words in OUTCOMES.items() if pooled.get(key)]
    said = f"With the weights randomised: the map {sanity['verdict']}." if sanity else ""
    from markupsafe import Markup

    return {
        "label": files.explanation["label"].capitalize(),
        "method": files.explanation["method"],
        "measures": [Markup(title) for title in MEASURES.values()],
        "rows": rows,
        "sanity": said,
        "by": files.explanation.get("by", "outcome"),
        "kept": ", ".join(files.explanation.get("kept", ())),
    }


def _attention_row(words: str, found: Mapping[str, Any]) -> dict[str, Any]:
    cells = [found["measures"].get(name) for name in MEASURES]
    return {"outcome": words, "patients": found["patients"], "cells": cells}


def unmeasured(files: RunFiles) -> list[str]:
    """Returns what a reader might take for granted and this run does not show."""
    lines = [
        "Other hospitals: no external validation; hospitals outside, if any, are dealt from the same data set."
        if files.outside
        else "Other hospitals: all test patients come from the sites that trained; no external validation.",
        "Other seeds: one training was run; intervals cover the choice of test patients only.",
        "Benefit to patients: no prospective use, no reader study.",
    ]
    lines += _score_noise(files) + _not_tried(files)
    if files.evaluation is None:
        return [f"Test results: {untested(files)}.", *lines]
    kept = [site for site in files.sites if files.own_release(site).get("level") in ("none", "verdict")]
    lines += [f"Training alone: figures are not released by {', '.join(kept)}."] if kept else []
    missing = not files.model("local") and not any(files.own_release(site) for site in files.sites)
    lines += ["Training alone: no model was made at home to compare with."] if missing else []
    lines += [] if files.model("personalised") else ["Home and federation together: no such model was made."]
    lines += [] if subgroups(files) else ["Subgroups: none was counted, or none was large enough."]
    lines += [] if files.explanation else ["Where the model looks: no heatmap was measured."]
    return lines


def untested(files: RunFiles) -> str:
    """Returns why a run has no test results."""
    if files.study.get("evaluation", {}).get("test", True):
        return "the run ended before the test patients were scored"
    return "the study leaves the test patients unopened (evaluation.test=false)"


def _not_tried(files: RunFiles) -> list[str]:
    """Returns the hospitals outside that the model was not tried on: a bare ServerApp cannot open their data."""
    named = [] if files.outside else files.study.get("partition", {}).get("outside", [])
    return [f"Hospitals outside: the model was not tried on {', '.join(named)}."] if named else []


def _score_noise(files: RunFiles) -> list[str]:
    noise = (files.evaluation or {}).get("score_noise", 0)
    if not noise:
        return []
    return [
        f"The noise on score counts (standard deviation of {noise} patients on each): intervals leave it out, so they "
        "are too narrow, the more so the fewer patients a site has."
    ]
