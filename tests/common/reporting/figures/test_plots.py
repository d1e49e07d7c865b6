"""Figures repeat byte for byte, survive gaps and odd names, and their CSV holds the plotted values."""

from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

import pytest

from common.reporting.figures.of_run import clinical_plots, plots

NONE = {"value": None, "low": None, "high": None}
ROUNDS = [
    {"round": 1, "val": {"pooled": {"auroc": None}, "sites": {}}, "epsilon": {}},
    {"round": 2, "val": {"pooled": {"auroc": 0.6}, "sites": {"a": {"auroc": 0.7}}}, "epsilon": {"a": 1.5}},
]
METRICS = {"auroc": {"value": 0.75}, "roc": {"fpr": [0, 0.5, 1], "tpr": [0, 1, 1], "threshold": [1, 0.5, 0]}}
EMPTY = {"auroc": {"value": None}, "roc": {"fpr": [], "tpr": [], "threshold": []}}
HEAD = [{"site": "a", "auroc": {"value": 0.8, "low": 0.7, "high": 0.9}, "local_auroc": NONE}]
POOLED = {
    "patients": 4,
    "malignant": 1,
    "pr": {
        "recall": [0.5, 1.0],
        "precision": [1.0, 0.5],
        "band": {"recall": [0.5, 1.0], "low": [0.2, None], "high": [1.0, None]},
    },
    "reliability": {
        "low": [0.0, 0.5], "high": [0.5, 1.0], "patients": [4, 0], "score": [0.3, None], "observed": [0.25, None]
    },
    "net_benefit": {"threshold": [0.1, 0.9], "model": [0.2, None], "all": [0.17, -6.5]},
}  # fmt: skip
DIFFERENCES = [
    {"site": "a", "difference": {"value": 0.1, "low": -0.1, "high": 0.3}},
    {"site": "b", "difference": None},
]
CURVES = {name: METRICS["roc"] | {"band": {"fpr": [0.0, 1.0], "low": [0, 1], "high": [1, 1]}} for name in ("roc",)}
FIGURES = [
    (plots.roc_svg, plots.roc_csv, (METRICS | CURVES, {}), 3),
    (clinical_plots.pr_svg, clinical_plots.pr_csv, (POOLED,), 4),
    (clinical_plots.reliability_svg, clinical_plots.reliability_csv, (POOLED,), 2),
    (clinical_plots.decision_svg, clinical_plots.decision_csv, (POOLED,), 2),
    (clinical_plots.differences_svg, clinical_plots.differences_csv, (DIFFERENCES, 0.05), 1),
    (clinical_plots.price_svg, clinical_plots.price_csv, (ROUNDS,), 2),
    (plots.auroc_by_round_svg, plots.auroc_by_round_csv, (ROUNDS,), 4),
    (plots.auroc_by_round_svg, plots.auroc_by_round_csv, (ROUNDS[:1],), 1),
    (plots.epsilon_by_round_svg, plots.epsilon_by_round_csv, (ROUNDS, {"a": 10.0}), 1),
    (lambda r, c: plots.epsilon_by_round_svg(r, c, 7.0), plots.epsilon_by_round_csv, (ROUNDS, {"a": 10.0}), 1),
    (plots.roc_svg, plots.roc_csv, (METRICS, {"a": METRICS, "b": EMPTY}), 6),
    (plots.roc_svg, plots.roc_csv, (None, {}), 0),
    (plots.labels_by_site_svg, plots.labels_by_site_csv, ({"a": {"malignant": None, "benign": 9}}, "<5"), 1),
    (plots.forest_svg, plots.forest_csv, (HEAD,), 2),
    (plots.forest_svg, plots.forest_csv, ([HEAD[0] | {"auroc": NONE}],), 2),
]


@pytest.mark.parametrize(("svg", "twin", "values", "rows"), FIGURES)
def test_a_figure_is_deterministic_labelled_svg_and_its_csv_has_the_rows(svg, twin, values, rows: int) -> None:
    first = svg(*values)
    assert first == svg(*values)
    root = ElementTree.fromstring(first)
    assert root.get("role") == "img" and root.get("aria-label") and "metadata" not in first
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert len(list(csv.reader(io.StringIO(twin(*values))))) == rows + 1


def test_csv_keeps_every_digit_and_leaves_the_undefined_empty() -> None:
    third = [ROUNDS[0], {"round": 2, "val": {"pooled": {"auroc": 1 / 3}, "sites": {}}}]
    rows = list(csv.DictReader(io.StringIO(plots.auroc_by_round_csv(third))))
    assert rows[0]["auroc"] == "" and float(rows[1]["auroc"]) == 1 / 3


def test_suppressed_counts_stay_suppressed() -> None:
    counts = {"a": {"malignant": None, "benign": 9}}
    assert "&lt;5" in plots.labels_by_site_svg(counts, "<5")
    assert plots.labels_by_site_csv(counts, "<5") == "site,malignant,benign\na,<5,9\n"


def test_a_single_round_can_be_seen() -> None:
    assert "<use" in plots.auroc_by_round_svg(ROUNDS[1:])


def test_many_sites_share_one_legend_entry() -> None:
    sites = {f"site_{index}": {"auroc": 0.6} for index in range(30)}
    svg = plots.auroc_by_round_svg([{"round": 1, "val": {"pooled": {"auroc": 0.6}, "sites": sites}}])
    assert "30 sites" in svg and "site_7" not in svg


def test_a_name_is_text_not_mathematics() -> None:
    svg = plots.forest_svg([HEAD[0] | {"site": r"$\frac{1}{0}$ <b>"}])
    assert r"$\frac{1}{0}$ <b>" in "".join(ElementTree.fromstring(svg).itertext())
