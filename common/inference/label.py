"""``label.json``: what a reader must know of a model, filled from the run's own files; unknown is "not stated".

The fields are those of Model Facts (Sendak et al. 2020), TRIPOD+AI (2024), CLAIM (2024) and DECIDE-AI (2022), merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.inference.expects import Expects
from common.inference.manifest import Manifest
from common.notice import RESEARCH_USE
from common.runs.run_files import RunFiles

SCHEMA_VERSION = 1
UNKNOWN = "not stated"
NOT_FOR = (
    "Diagnosis, triage or treatment of a person, with or without a physician in between.",
    "Images of another modality, body part, view, device or preparation than those it was trained on.",
    "Screening, unless its patients were screened: those of clinics hold a higher share of malignant ones.",
    "Telling where a lesion is: the map shows what moved the score, and is no outline.",
)
RATES = ("auroc", "sensitivity", "specificity", "ppv", "npv", "brier")


def label(files: RunFiles, manifest: Manifest, expects: Expects, attention: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the label as JSON values.

    Args:
        files: Of the run, which was evaluated.
        manifest: Of the package, its files not yet known.
        expects: What an exam must be.
        attention: ``attention.json``.
    """
    evaluation = files.evaluation or {}
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": RESEARCH_USE,
        "model": _model(files, manifest),
        "use": _use(manifest),
        "input": _input(files, expects),
        "output": _output(files, evaluation),
        "training": _training(files, manifest),
        "validation": _validation(files, evaluation),
        "abstention": _abstention(),
        "attention": dict(attention) | {"at_hospitals": _at_hospitals(files)},
        "failures": _failures(files),
        "oversight": _oversight(),
        "updates": _updates(manifest),
        "privacy": {"private": files.run.get("private"), "statement": "privacy.json"},
        "funding": UNKNOWN,
        "conflicts_of_interest": UNKNOWN,
    }


def lines(found: Mapping[str, Any], depth: int = 0) -> list[str]:
    """Returns the label as lines of Markdown, each fact one line."""
    out = []
    for key, value in found.items():
        name = str(key).replace("_", " ")
        if isinstance(value, Mapping):
            out += [f"{'  ' * depth}- {name}:", *lines(value, depth + 1)]
        else:
            out.append(f"{'  ' * depth}- {name}: {_plain(value)}")
    return out


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "; ".join(map(_plain, value)) or UNKNOWN
    if isinstance(value, float):
        return f"{value:.4g}"
    return UNKNOWN if value is None else " ".join(str(value).split())


def _model(files: RunFiles, manifest: Manifest) -> dict[str, Any]:
    network = files.run.get("model", {})
    return {
        "name": manifest.name, "version": manifest.run, "date": manifest.created.date().isoformat(),
        "weights": manifest.weights, "network": network.get("name", UNKNOWN),
        "mechanism": f"{network.get('name', 'a network')}: features of the whole image, one linear score; no finding "
        "is named and no lesion is outlined",
        "developer": UNKNOWN, "contact": UNKNOWN, "licence": UNKNOWN,
    }  # fmt: skip


def _use(manifest: Manifest) -> dict[str, Any]:
    notes = [
        *(["It was trained on computed phantoms and knows nothing of patients."] if manifest.synthetic else []),
        *(["Its hospitals were emulated from a public data set."] if manifest.emulated else []),
    ]
    return {
        "intended_use": "Research: the probability that the lesion of an examined patient is malignant.",
        "user": "Researchers in a department of breast imaging", "population": UNKNOWN, "setting": UNKNOWN,
        "not_for": [*NOT_FOR, *notes],
    }  # fmt: skip


def _input(files: RunFiles, expects: Expects) -> dict[str, Any]:
    data = files.study.get("data", {})
    return {
        "modality": expects.modality or UNKNOWN,
        "views": list(expects.views) or UNKNOWN,
        "presentation": "for presentation" if expects.modality == "MG" else UNKNOWN,
        "pixels": f"[0, 1] as displayed, resized to {data.get('image_size')} px, {data.get('channels')} channel(s)",
        "training_images_with_text_or_calipers": UNKNOWN if expects.marked_share is None else expects.marked_share,
        "images_of_an_exam": "one or more; the score is the mean over them",
        "age": UNKNOWN,
    }


def _output(files: RunFiles, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    rule = evaluation.get("threshold_rule") or {}
    calibration = evaluation.get("recalibration", {}).get("released", {})
    return {
        "output": "calibrated probability of malignancy of the exam, in [0, 1]",
        "threshold_as_scored": evaluation.get("threshold", UNKNOWN),
        "threshold_how": rule.get("how", UNKNOWN),
        "threshold_patients": rule.get("patients", UNKNOWN),
        "calibration": calibration.get("method", UNKNOWN),
        "calibration_patients": calibration.get("validation_patients", UNKNOWN),
    }


def _training(files: RunFiles, manifest: Manifest) -> dict[str, Any]:
    run, data = files.run, files.run.get("dataset", {})
    counts = [site.get("counts", {}).get("train", {}).get("patients") for site in run.get("sites", ())]
    return {
        "sites": len(files.sites), "emulated_sites": manifest.emulated,
        "patients": sum(counts) if counts and None not in counts else UNKNOWN,
        "data": data.get("name", UNKNOWN), "citation": data.get("citation") or UNKNOWN,
        "data_licence": data.get("licence") or UNKNOWN, "dates": UNKNOWN,
        "reference_standard": UNKNOWN, "rounds": run.get("rounds_done", UNKNOWN),
    }  # fmt: skip


def _validation(files: RunFiles, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    pooled = files.model("federated").get("pooled") or {}
    sites = files.model("federated").get("sites") or {}
    groups = (evaluation.get("fairness") or {}).get("attributes") or {}
    return {
        "kind": "internal: test patients of the hospitals that trained", "sites": len(sites) or UNKNOWN,
        "patients": pooled.get("patients", UNKNOWN), "events": pooled.get("malignant", UNKNOWN),
        "confidence": evaluation.get("confidence", UNKNOWN),
        "pooled": _rates(pooled),
        "calibration_after_recalibration": evaluation.get("recalibration", {}).get("released", {}).get(
            "calibration", UNKNOWN),
        "by_site": {name: _rates(block) for name, block in sites.items()},
        "by_subgroup": {
            name: {group: _rates(row) for group, row in found.get("groups", {}).items() if row.get("enough")}
            for name, found in groups.items()
        },
        "fewest_of_a_subgroup": (evaluation.get("fairness") or {}).get("min_group", UNKNOWN),
        "external_validation": UNKNOWN,
    }  # fmt: skip


def _rates(block: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {key: block.get(key, UNKNOWN) for key in ("patients", "malignant")}
    for name in RATES:
        if isinstance(block.get(name), Mapping):
            found[name] = {key: block[name].get(key) for key in ("value", "low", "high")}
    return found


def _abstention() -> dict[str, Any]:
    return {
        "rule": "no answer is given where an image is unreadable, blank, marked with text, of another modality or "
        "view, unlike the training images, or far from this site's patients, and where the conformal set is not one "
        "class",
        "rate": UNKNOWN,
    }


def _at_hospitals(files: RunFiles) -> Any:
    """Returns where the model looked on the hospitals' test patients, by class or outcome: share and chance."""
    found = files.explanation
    if found is None:
        return UNKNOWN
    rows = {
        name: {"patients": row["patients"]}
        | {key: {"share": one["value"], "chance": one["chance"]} for key, one in row["measures"].items()}
        for name, row in found["pooled"].items()
    }
    return {"by": found.get("by", "outcome"), "sites": len(found["sites"]), "measures": rows}


def _failures(files: RunFiles) -> dict[str, Any]:
    lost = [site["name"] for site in files.run.get("sites", ()) if site.get("status") != "ok"]
    notes = list(files.run.get("dataset", {}).get("notes") or ())
    return {
        "known_failure_modes": [*notes, "Burned-in text and calipers can move the score."],
        "sites_lost": lost,
        "status": files.run.get("status", UNKNOWN),
    }


def _oversight() -> dict[str, Any]:
    return {
        "human": "A person reads every exam without the score first; the score changes no report.",
        "stop": "The site suspends the model; nothing that the hub does can keep it active.",
    }


def _updates(manifest: Manifest) -> dict[str, Any]:
    return {
        "policy": "Each change of weights, threshold or preprocessing is a new package with a digest of its own.",
        "last_update": manifest.created.date().isoformat(), "allowed_changes": UNKNOWN, "monitoring_plan": UNKNOWN,
        "validation_expires": manifest.expires.date().isoformat(),
    }  # fmt: skip
