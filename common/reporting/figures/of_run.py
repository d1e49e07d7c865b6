"""The figures that a run has values for, each as SVG with its values as CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.reporting.advice import named
from common.reporting.figures import clinical_plots, plots
from common.runs.run_files import UNTOLD, RunFiles

Wanted = tuple[str, bool, Callable[..., str], Callable[..., str], tuple[Any, ...]]


def figures_of(files: RunFiles, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Returns ``svg`` and ``csv`` by file name; ``rows`` are those of the headline table."""
    wanted = [*_of_training(files, rows), *_of_test(files, rows)]
    return {name: {"svg": svg(*values), "csv": twin(*values)} for name, has, svg, twin, values in wanted if has}


def _of_training(files: RunFiles, rows: Sequence[Mapping[str, Any]]) -> list[Wanted]:
    counts = {
        site["name"]: site["counts"]["train"]
        for site in files.run.get("sites", ())
        if site.get("counts", {}).get("train")
    }
    rounds, ceilings = files.rounds, files.ceilings()
    spent = any(row.get("epsilon") for row in rounds)
    labels = (counts, UNTOLD)
    return [
        ("auroc-by-round", bool(rounds), plots.auroc_by_round_svg, plots.auroc_by_round_csv, (rounds,)),
        ("epsilon-by-round", spent, plots.epsilon_by_round_svg, plots.epsilon_by_round_csv, (rounds, ceilings)),
        ("epsilon-auroc", spent, clinical_plots.price_svg, clinical_plots.price_csv, (rounds,)),
        ("labels-by-site", bool(counts), plots.labels_by_site_svg, plots.labels_by_site_csv, labels),
    ]


def _of_test(files: RunFiles, rows: Sequence[Mapping[str, Any]]) -> list[Wanted]:
    federated = files.model("federated")
    pooled = federated.get("pooled")
    both = bool(pooled and pooled["malignant"] and pooled["benign"])
    measured = any(row[key]["value"] is not None for row in rows for key in ("auroc", "local_auroc"))
    compared = [{"site": named(row["site"]), "difference": files.difference(row["site"])} for row in rows]
    shown = [dict(row) | {"site": named(row["site"])} for row in rows]
    margin = (files.evaluation or {}).get("margin", 0.0)
    differs, clinical = any(row["difference"] for row in compared), clinical_plots
    return [
        ("forest", measured, plots.forest_svg, plots.forest_csv, (shown,)),
        ("roc", bool(federated), plots.roc_svg, plots.roc_csv, (pooled, federated.get("sites", {}))),
        ("differences", differs, clinical.differences_svg, clinical.differences_csv, (compared, margin)),
        ("precision-recall", both, clinical.pr_svg, clinical.pr_csv, (pooled,)),
        ("reliability", both, clinical.reliability_svg, clinical.reliability_csv, (pooled,)),
        ("decision-curve", both, clinical.decision_svg, clinical.decision_csv, (pooled,)),
    ]
