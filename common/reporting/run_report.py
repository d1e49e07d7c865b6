"""The report of a run: one self-contained page, and its figures as SVG with CSV beside.

A pure function of the files in the run folder, so it can be made again at any time and shows nothing that the
folder does not hold. :func:`headline_table` is what pages, commands and JSON all show.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from common.evaluation.comparison import SAME
from common.privacy.exposure import in_words
from common.reporting.advice import IN_A_CELL, gain_of_some, named, outcome, reliability
from common.reporting.figures.drawing import GRID, INK
from common.reporting.figures.of_run import figures_of
from common.reporting.sections import (
    area_of,
    attention,
    calibration_rows,
    outside,
    subgroups,
    unmeasured,
    untested,
    value_of_federating,
)
from common.reporting.study_privacy import PAGE
from common.reporting.templates.base import render
from common.reporting.templates.run import RUN
from common.reporting.templates.run_sections import SECTIONS
from common.reporting.usefulness import calibration_sentences, recalibration_sentence, usefulness
from common.reporting.verdict import judge, plain_code
from common.runs.run_files import UNTOLD, RunFiles, read_run

POOLED = "pooled"
_MODELS = ("federated", "local")
COLUMNS = {"auroc": "federated", "local_auroc": "local", "joined_auroc": "personalised", "public_auroc": "public"}
"""AUROCs of the headline, and the model each is of."""
_NOTHING: Mapping[str, Any] = {"value": None, "low": None, "high": None}
METRICS = (
    ("auroc", "AUROC"),
    ("accuracy", "Accuracy"),
    ("sensitivity", "Sensitivity (recall)"),
    ("specificity", "Specificity"),
    ("precision", "Precision (PPV)"),
    ("f1", "F1"),
)
SPLITS = ("train", "val", "test")


def write_run_report(run_dir: Path) -> Path:
    """Writes ``report.html`` and ``plots/*.svg|csv`` into the run folder; returns the report's path.

    Raises:
        ConfigError: The folder holds no ``run.json``, or a file in it is damaged.
    """
    files = read_run(run_dir)
    figures = figures_of(files, _headline(files))
    (run_dir / "plots").mkdir(exist_ok=True)
    for name, figure in figures.items():
        (run_dir / "plots" / f"{name}.svg").write_text(figure["svg"], encoding="utf-8")
        (run_dir / "plots" / f"{name}.csv").write_text(figure["csv"], encoding="utf-8")
    report = run_dir / "report.html"
    report.write_text(render("run", {"run": RUN, **SECTIONS}, _view(files, figures)), encoding="utf-8")
    return report


def headline_table(run_dir: Path) -> list[dict[str, Any]]:
    """Returns one row a site and, when there was a test, a last row ``pooled``.

    Keys: ``site``; ``patients`` (declared for training; None when unknown); ``test_patients``; ``epsilon`` spent by
    the ledger (None when not private; for ``pooled`` the largest of the sites); ``auroc`` of the federated model,
    ``local_auroc`` of the best that a site makes alone, ``joined_auroc`` of the best with both, ``public_auroc`` of the
    public checkpoint, and ``gain``, the third less the second (0 without limits where both rank alike): each
    ``{"value", "low", "high"}`` with None where not measured; for ``pooled`` patients are compared within their own
    site only, as :mod:`common.evaluation.within_sites` does.

    Raises:
        ConfigError: The folder holds no ``run.json``, or a file in it is damaged.
    """
    return _headline(read_run(run_dir))


def _headline(files: RunFiles) -> list[dict[str, Any]]:
    rows = _headline_sites(files)
    if files.model("federated").get("pooled"):
        rows.append(_headline_pooled(files, rows))
    return rows


def _headline_sites(files: RunFiles) -> list[dict[str, Any]]:
    declared = {site["name"]: site.get("declared_patients") for site in files.run.get("sites", ())}
    return [_headline_row(files, site, declared[site], files.epsilon(site)) for site in files.sites]


def _headline_pooled(files: RunFiles, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    declared = [row["patients"] for row in rows if row["patients"] is not None]
    epsilon = max((row["epsilon"] for row in rows if row["epsilon"] is not None), default=None)
    return _headline_row(files, POOLED, sum(declared) if declared else None, epsilon)


def _headline_row(files: RunFiles, site: str, patients: int | None, epsilon: float | None) -> dict[str, Any]:
    tested = files.model("federated").get("pooled") if site == POOLED else _site(files, "federated", site)
    areas = {column: _known(area_of(files, model, site)) for column, model in COLUMNS.items()}
    return {
        "site": site,
        "patients": patients,
        "test_patients": tested["patients"] if tested else None,
        "epsilon": epsilon,
        **areas,
        "gain": _gain(files.difference(site, "personalised_minus_local")),
    }


def _gain(found: Mapping[str, Any] | None) -> dict[str, float | None]:
    """A hospital that keeps its home model gains 0, and no interval says otherwise."""
    same = found is not None and found.get("method") == SAME
    return {**_NOTHING, "value": 0.0} if same else _known(found)


def _known(found: Mapping[str, Any] | None) -> dict[str, float | None]:
    return {key: (found or _NOTHING)[key] for key in _NOTHING}


def _site(files: RunFiles, model: str, site: str) -> Mapping[str, Any] | None:
    metrics: Mapping[str, Any] | None = files.model(model).get("sites", {}).get(site)
    return metrics


def _view(files: RunFiles, figures: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    rows = _headline(files)
    return {
        "run": files.run,
        "study": files.study,
        "last_round": files.study.get("evaluation", {}).get("select_by") == "last",
        "evaluation": files.evaluation,
        "untested": untested(files),
        "verdict": judge(files),
        "reliability": reliability(files),
        "named": named,
        "gain_of_some": gain_of_some(rows),
        "headline": [row | {"outcome": _outcome(files, row["site"])} for row in rows],
        "has": {column: any(row[column]["value"] is not None for row in rows) for column in [*COLUMNS, "gain"]},
        "figures": {name: _inline(figure["svg"]) for name, figure in figures.items()},
        "site_rows": [_site_row(site) for site in files.run.get("sites", ())],
        "splits": SPLITS,
        "value": value_of_federating(files),
        "outside": outside(files),
        "calibration": calibration_rows(files),
        "judgement": _judgement(files),
        "ece": _pooled(files).get("ece"),
        "groups": subgroups(files),
        "attention": attention(files),
        "unmeasured": unmeasured(files),
        "metrics": METRICS,
        "tables": [_metric_table(files, model) for model in _MODELS if files.model(model)],
        "binning_error": _binning_error(files),
        "failures": _failures(files),
        "privacy": [_privacy_row(files, site) for site in files.sites],
        "privacy_page": PAGE if (files.path / PAGE).exists() else None,
        "command": _command(files),
        "when": _when(files.run),
        "confidence": _percent((files.evaluation or {}).get("confidence", 0.95)),
    }


def _pooled(files: RunFiles) -> Mapping[str, Any]:
    return files.model("federated").get("pooled") or {}


def _judgement(files: RunFiles) -> list[str]:
    released = ((files.evaluation or {}).get("recalibration") or {}).get("released") or {}
    more = (recalibration_sentence(released), usefulness(_pooled(files)))
    return [*calibration_sentences(_pooled(files)), *filter(None, more)]


def _outcome(files: RunFiles, site: str) -> str:
    return "" if site == POOLED else IN_A_CELL[outcome(files, site)]


def _inline(svg: str) -> Any:
    from markupsafe import Markup

    # Ink and grid follow the page, so the figure reads on a dark background too.
    return Markup(svg.replace(INK, "currentColor").replace(GRID, "var(--line)"))


def _site_row(site: Mapping[str, Any]) -> dict[str, Any]:
    counts = site.get("counts", {})
    cells = {
        split: {key: UNTOLD if value is None else str(value) for key, value in counts.get(split, {}).items()}
        for split in SPLITS
    }
    state = "took part" if site["status"] == "ok" else f"lost; {plain_code(site['code'])}"
    return {**site, "cells": cells, "state": state}


def _metric_table(files: RunFiles, model: str) -> dict[str, Any]:
    block = files.model(model)
    rows = [(site, block["sites"][site]) for site in sorted(block.get("sites", {}))]
    if block.get("pooled"):
        rows.append((POOLED, block["pooled"]))
    title = "Federated model" if model == "federated" else "Models made at home"
    return {"model": model, "title": title, "rows": rows}


def _binning_error(files: RunFiles) -> float | None:
    bounds = [metrics["auroc"]["binning_error"] for model in _MODELS for metrics in _blocks(files.model(model))]
    return max((bound for bound in bounds if bound is not None), default=None)


def _blocks(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    pooled = [model["pooled"]] if model.get("pooled") else []
    return [*model.get("sites", {}).values(), *pooled]


def _failures(files: RunFiles) -> list[dict[str, Any]]:
    return [
        {"round": row["round"], "site": failure["site"], "code": failure["code"], "words": plain_code(failure["code"])}
        for row in files.rounds
        for failure in row.get("failures", ())
    ]


def _privacy_row(files: RunFiles, site: str) -> dict[str, Any]:
    statement = files.statements.get(site, {})
    return {
        "site": site,
        "epsilon": files.epsilon(site),
        "delta": statement.get("delta"),
        "ceiling": files.ceilings().get(site),
        "odds": _odds(files.epsilon(site)),
        "alone": _alone(statement.get("secure_sum")),
        "accountant": _text(statement.get("accountant")),
        "unit": _text(statement.get("unit")),
        "relation": _text(statement.get("neighbouring_relation")),
        "link": _privacy_link(files.path, site),
    }


def _alone(summed: Any) -> str | None:
    """Returns the epsilon against the hub and all other sites, as the site states it."""
    alone = summed.get("alone") if isinstance(summed, Mapping) else None
    return in_words(alone.get("epsilon"), 2) if isinstance(alone, Mapping) else None


def _odds(epsilon: float | None) -> str | None:
    """Returns e^epsilon rounded up: a bound must not be rounded down."""
    if epsilon is None:
        return None
    if epsilon > 20:
        return "over 400 million"
    odds = math.exp(epsilon)
    return f"{math.ceil(odds):,}" if odds > 10 else f"{math.ceil(10 * odds) / 10:.1f}"


def _text(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("name") or value.get("text")
    return str(value) if value else None


def _privacy_link(run_dir: Path, site: str) -> str | None:
    for suffix in ("html", "json"):
        if (run_dir / "privacy" / f"{site}.{suffix}").exists():
            return f"privacy/{quote(site)}.{suffix}"
    return None


def _command(files: RunFiles) -> str:
    """Returns the command that makes the run again; in a deployment the sites' own noise makes it another."""
    engine = files.run.get("engine")
    if engine == "deployment":
        return "oncofed-hub run study.yaml"
    options = ["--engine inprocess"] if engine == "inprocess" else []
    return " ".join(["oncofed-sim run", *options, *(shlex.quote(_without_path(item)) for item in files.overrides)])


def _without_path(override: str) -> str:
    """Returns the override with a path of this machine left out: a report may be passed on."""
    key, separator, value = override.partition("=")
    return f"{key}=PATH" if separator and ("/" in value or "\\" in value) else override


def _when(run: Mapping[str, Any]) -> str:
    if not run.get("started"):
        return "not recorded"
    started = datetime.fromisoformat(run["started"]).astimezone(UTC)
    if not run.get("finished"):
        return f"{started:%Y-%m-%d %H:%M} UTC, not finished"
    finished = datetime.fromisoformat(run["finished"]).astimezone(UTC)
    minutes, seconds = divmod(round((finished - started).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    duration = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
    return f"{started:%Y-%m-%d %H:%M} UTC, for {duration}"


def _percent(share: float) -> str:
    return f"{100 * share:g}%"
