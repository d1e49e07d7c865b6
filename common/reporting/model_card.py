"""The model card of a run: what its model is for, made of, worth, and not for.

Sections follow Mitchell et al. 2019 (Model Cards for Model Reporting, section 4), with the privacy of NIST SP 800-226.
Every value is taken from the run's files as it stands there; the Markdown shows the JSON and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.notice import RESEARCH_USE
from common.reporting.sections import POOLED, unmeasured
from common.runs.run_files import UNTOLD, RunFiles, read_run

SCHEMA_VERSION = 1
METRICS = {
    "auroc": "AUROC", "sensitivity": "sensitivity", "specificity": "specificity", "ppv": "PPV", "npv": "NPV",
    "brier": "Brier score",
}  # fmt: skip
OUT_OF_SCOPE = (
    "Diagnosis, triage or treatment of a person, with or without a physician in between.",
    "Images of another kind, body part, view, device or preparation than those of the data below.",
    "Screening: the data are of patients who were examined for a reason, so the share of malignant ones is higher.",
    "Telling where a lesion is: the model gives one number, and its heatmaps are no outlines.",
)
PREPROCESSING = (
    "Greyscale or colour as the study says; longer side resized to image_size with antialiasing, aspect kept, centred "
    "on black; values moved to [-1, 1]. Fixed beforehand, so nothing is fitted on patients."
)


def write_model_card(run_dir: Path) -> Path | None:
    """Writes ``model_card.json`` and ``model_card.md`` into the run folder; returns the latter, None without a model.

    Raises:
        ConfigError: The folder holds no ``run.json``, or a file in it is damaged.
    """
    files = read_run(run_dir)
    if files.evaluation is None:
        return None
    card = model_card(files)
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (run_dir / "model_card.json").write_text(text, encoding="utf-8")
    page = run_dir / "model_card.md"
    page.write_text("\n".join(_lines(card)) + "\n", encoding="utf-8")
    return page


def model_card(files: RunFiles) -> dict[str, Any]:
    """Returns the card of a run that was tested, as JSON values."""
    run, study = files.run, files.study
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": RESEARCH_USE,
        "synthetic": run["synthetic"],
        "model": _model(files),
        "intended_use": "Research on federated learning: probability that a patient's breast lesion is malignant.",
        "out_of_scope": list(OUT_OF_SCOPE),
        "data": {
            **{key: run["dataset"].get(key) for key in ("name", "citation", "licence", "notes")},
            "sites": {site["name"]: site.get("counts", {}) for site in run.get("sites", ())},
            "suppressed_below": study.get("evaluation", {}).get("min_cell"),
            "preprocessing": PREPROCESSING,
            "settings": {key: study.get("data", {}).get(key) for key in ("image_size", "channels", "breast_crop")},
        },
        "training": _training(files),
        "privacy": _privacy(files),
        "evaluation": _evaluation(files),
        "limits": unmeasured(files),
        "reproducibility": {key: run[key] for key in ("study_digest", "code_digest", "seeds", "versions")},
    }


def _model(files: RunFiles) -> dict[str, Any]:
    path = files.path / "model" / "model.safetensors"
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
    run = files.run
    return {
        "run": run["run_id"], "study": run["name"], "status": run["status"], "finished": run["finished"],
        "sha256": digest, "weights_before_training": _start(files.study.get("model", {})), **run["model"],
    }  # fmt: skip


def _start(model: Mapping[str, Any]) -> str | None:
    """Returns what training began from; a checkpoint by its digest, for its path is of the machine that ran."""
    if model.get("checkpoint"):
        return f"public checkpoint {model['checkpoint']}"
    weights = model.get("weights")
    return None if weights is None else Path(str(weights)).name


def _training(files: RunFiles) -> dict[str, Any]:
    run, study = files.run, files.study
    wanted = ("optimizer", "lr", "batch_patients", "local_steps", "local_epochs", "augment")
    return {
        "rounds_planned": run["rounds_planned"], "rounds_done": run["rounds_done"], "best_round": run["best_round"],
        "strategy": study.get("strategy", {}).get("name"),
        "sites": {site["name"]: {key: site[key] for key in ("status", "code", "rounds")} for site in run["sites"]},
        **{key: study.get("training", {}).get(key) for key in wanted},
    }  # fmt: skip


def _privacy(files: RunFiles) -> dict[str, Any]:
    fields = (
        "epsilon",
        "delta",
        "lifetime_epsilon",
        "cohort_changes",
        "unit",
        "neighbouring_relation",
        "mechanism",
        "accountant",
    )
    return {
        "private": files.run["private"],
        "sites": {site: {key: found.get(key) for key in fields} for site, found in files.statements.items()},
        "noise": files.run["seeds"]["noise"],
        "not_covered": list(files.run.get("not_covered", ())),
    }


def _evaluation(files: RunFiles) -> dict[str, Any]:
    evaluation = files.evaluation or {}
    federated = files.model("federated")
    groups = {POOLED: federated.get("pooled"), **federated.get("sites", {})}
    return {
        "level": evaluation.get("level"),
        "confidence": evaluation.get("confidence"),
        "threshold": evaluation.get("threshold"),
        "threshold_rule": evaluation.get("threshold_rule"),
        "groups": {name: _figures(block) for name, block in groups.items() if block},
        "calibration": (federated.get("pooled") or {}).get("calibration"),
        "federated_less_local": evaluation.get("comparisons", {}).get("federated_minus_local"),
        "margin": evaluation.get("margin"),
        "do_no_harm": evaluation.get("do_no_harm"),
    }


def _figures(block: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: {key: block[name].get(key) for key in ("value", "low", "high")} for name in METRICS if name in block}
    return {"patients": block["patients"], "malignant": block["malignant"], **shown}


def _lines(card: Mapping[str, Any]) -> Iterator[str]:
    model, data = card["model"], card["data"]
    yield f"# Model card: {_plain(model['study'])}"
    yield from ("", f"**{card['notice']}.**", "")
    if card["synthetic"]:
        yield from ("**Synthetic data:** computed phantoms, not patients; the figures say nothing about cancer.", "")
    yield from _section("Model", {key: value for key, value in model.items() if key != "study"})
    yield from ("## Intended use", "", card["intended_use"], "", "## Out of scope", "")
    yield from (f"- {line}" for line in card["out_of_scope"])
    yield ""
    yield from _section("Data", {key: data[key] for key in ("name", "licence", "citation")} | data["settings"])
    yield from (f"- {_plain(note)}" for note in data["notes"] or ())
    yield from ("", data["preprocessing"], "", *_counts(data), "")
    yield from _section("Training", {key: value for key, value in card["training"].items() if key != "sites"})
    yield from _privacy_lines(card["privacy"])
    yield from _evaluation_lines(card["evaluation"])
    yield from ("## Limits: what was not measured", "", *(f"- {line}" for line in card["limits"]), "")
    yield from _section("Reproduce", card["reproducibility"])


def _section(title: str, facts: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## {title}", "")
    yield from (f"- {key.replace('_', ' ')}: {_plain(value)}" for key, value in facts.items())
    yield ""


def _counts(data: Mapping[str, Any]) -> Iterator[str]:
    yield from ("| site | split | patients | malignant | benign |", "|---|---|---|---|---|")
    for site, splits in data["sites"].items():
        for split, row in splits.items():
            cells = (UNTOLD if row.get(key) is None else row[key] for key in ("patients", "malignant", "benign"))
            yield f"| {_plain(site)} | {split} | {' | '.join(map(str, cells))} |"


def _privacy_lines(privacy: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Privacy", "")
    if not privacy["private"]:
        yield from ("**Not private:** the model may reveal who was in the training data.", "")
        for site, row in privacy["sites"].items():
            yield f"- {_plain(site)}: lifetime epsilon {_plain(row['lifetime_epsilon'])}"
        yield ""
        return
    for site, row in privacy["sites"].items():
        yield f"- {_plain(site)}: " + ", ".join(
            f"{key.replace('_', ' ')} {_plain(value)}" for key, value in row.items()
        )
    yield from (f"- noise: {privacy['noise']}", "", "Not covered:", "")
    yield from (f"- {_plain(line)}" for line in privacy["not_covered"])
    yield ""


def _evaluation_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Evaluation", "")
    yield f"Patients as units, test patients that no round had seen, intervals of {found['confidence']:.0%}."
    yield f"Called malignant from {found['threshold']:.4g} on ({_plain((found['threshold_rule'] or {}).get('how'))})."
    yield from ("", "| group | patients | " + " | ".join(METRICS.values()) + " |", "|---" * (len(METRICS) + 2) + "|")
    for name, row in found["groups"].items():
        yield f"| {_plain(name)} | {row['patients']} | " + " | ".join(_interval(row.get(key)) for key in METRICS) + " |"
    together = (found["federated_less_local"] or {}).get("pooled")
    if together:
        yield from ("", f"AUROC less that of models trained alone, mean over sites: {_interval(together)}.")
    gate = found["do_no_harm"] or {}
    if gate.get("hurts"):
        harmed = ", ".join(_plain(site) for site in gate["hurts"])
        yield f"**Do no harm:** worse than the site's own model by more than {found['margin']:g} at {harmed}."
    slope = (found["calibration"] or {}).get("slope")
    yield from (f"Calibration slope: {_interval(slope)} (1 is right).", "") if slope else ("",)


def _interval(x: Mapping[str, Any] | None) -> str:
    if not x or x.get("value") is None:
        return "not defined"
    if x.get("low") is None or x.get("high") is None:
        return f"{x['value']:.3f}"
    return f"{x['value']:.3f} ({x['low']:.3f} to {x['high']:.3f})"


def _plain(value: Any) -> str:
    """Returns a value as one line of Markdown in which nothing is markup."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_plain(key)} {_plain(inner)}" for key, inner in value.items())
    text = "not stated" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return "".join(f"\\{letter}" if letter in r"\`*_[]<>|#" else letter for letter in " ".join(text.split()))
