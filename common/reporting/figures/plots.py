"""Figures as SVG text, each with a twin that gives the plotted values as CSV.

Pure functions of plain values: no files, no pyplot, no global state kept. The same values give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from common.reporting.figures.drawing import (
    INK,
    OKABE_ITO,
    Rows,
    band,
    csv_text,
    figure,
    legend,
    or_nan,
    rows_height,
    styled,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def auroc_by_round_svg(rounds: Rows) -> str:
    """Returns validation AUROC by round, pooled and by site, from the rows of ``metrics.jsonl``."""
    index = [row["round"] for row in rounds]
    with figure("auroc-by-round", "Validation AUROC by round, pooled and by site") as (ax, done):
        for style, site in styled(_sites_of(rounds)):
            ax.plot(index, [or_nan(_val(row, site)) for row in rounds], **style)
        ax.plot(index, [or_nan(_val(row, None)) for row in rounds], color=INK, lw=2.4, label="pooled", **_dot(index))
        ax.axhline(0.5, color=INK, lw=0.8, ls=(0, (2, 3)))
        ax.set(xlabel="Round", ylabel="Validation AUROC (0.5 is chance)", ylim=_auroc_limits(ax))
        _whole_rounds(ax, index)
        legend(ax)
    return done[0]


def auroc_by_round_csv(rounds: Rows) -> str:
    """Returns columns round, group (``pooled`` or ``site``), site, auroc (empty when undefined)."""
    pooled = [(row["round"], "pooled", "", _val(row, None)) for row in rounds]
    sites = [(row["round"], "site", site, _val(row, site)) for site in _sites_of(rounds) for row in rounds]
    return csv_text(("round", "group", "site", "auroc"), pooled + sites)


def epsilon_by_round_svg(rounds: Rows, ceilings: Mapping[str, float], in_all: float | None = None) -> str:
    """Returns the epsilon that each site's ledger has charged after each round, with the sites' ceilings.

    ``in_all`` is what all studies on the same patients have spent together, where it is more than this one.
    """
    index = [row["round"] for row in rounds]
    sites = sorted({site for row in rounds for site in row.get("epsilon", {})})
    with figure("epsilon-by-round", "Privacy loss epsilon by round and site, with ceilings") as (ax, done):
        for style, site in styled(sites):
            spent = [or_nan(row.get("epsilon", {}).get(site)) for row in rounds]
            ax.plot(index, spent, drawstyle="steps-post", **style)
        for number, ceiling in enumerate(sorted(set(ceilings.values()))):
            label = "ceiling of the sites" if number == 0 else None
            ax.axhline(ceiling, color=INK, lw=1.6, ls=(0, (6, 3)), label=label)
        if in_all is not None:
            ax.axhline(in_all, color=OKABE_ITO[1], lw=1.4, ls=":", label="all studies together, at the end")
        ax.set(xlabel="Round", ylabel="Epsilon spent (lower is more private)")
        ax.set_ylim(bottom=0)
        _whole_rounds(ax, index)
        legend(ax)
    return done[0]


def epsilon_by_round_csv(rounds: Rows, ceilings: Mapping[str, float]) -> str:
    """Returns columns round, site, epsilon, ceiling."""
    rows = [
        (row["round"], site, spent, ceilings.get(site))
        for row in rounds
        for site, spent in sorted(row.get("epsilon", {}).items())
    ]
    return csv_text(("round", "site", "epsilon", "ceiling"), rows)


def roc_svg(pooled: Mapping[str, Any] | None, sites: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns ROC curves from the metrics of ``evaluation.json``; a group with one class has no curve."""
    with figure("roc", "ROC curves on test patients, pooled and by site", height=4.6) as (ax, done):
        ax.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=(0, (2, 3)))
        drawn = [site for site in sorted(sites) if sites[site]["roc"]["fpr"]]
        for style, site in styled(drawn):
            roc = sites[site]["roc"]
            ax.plot(roc["fpr"], roc["tpr"], **(style | {"label": style["label"] and _with_auroc(site, sites[site])}))
        if pooled and pooled["roc"]["fpr"]:
            band(ax, pooled["roc"].get("band"), "fpr")
            label = _with_auroc("pooled", pooled)
            ax.plot(pooled["roc"]["fpr"], pooled["roc"]["tpr"], color=INK, lw=2.4, label=label)
        ax.set(xlabel="1 - specificity (false alarms among benign)", ylabel="Sensitivity (found among malignant)")
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        legend(ax)
    return done[0]


def roc_csv(pooled: Mapping[str, Any] | None, sites: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns columns group, site, fpr, tpr, threshold."""
    groups = ([("pooled", "", pooled)] if pooled else []) + [("site", name, sites[name]) for name in sorted(sites)]
    rows = [
        (group, name, *point)
        for group, name, metrics in groups
        for point in zip(*(metrics["roc"][key] for key in ("fpr", "tpr", "threshold")), strict=True)
    ]
    return csv_text(("group", "site", "fpr", "tpr", "threshold"), rows)


def labels_by_site_svg(counts: Mapping[str, Mapping[str, int | None]], suppressed: str) -> str:
    """Returns malignant and benign patients of each site as bars; ``suppressed`` is written where a count is None."""
    names = list(counts)
    with figure("labels-by-site", "Malignant and benign patients by site", height=rows_height(names)) as (ax, done):
        for label, colour, hatch, offset in (
            ("malignant", OKABE_ITO[1], "", -0.19),
            ("benign", OKABE_ITO[0], "///", 0.19),
        ):
            values = [counts[name].get(label) for name in names]
            places = [place + offset for place in range(len(names))]
            style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "#ffffff", "lw": 0}
            bars = ax.barh(places, [value or 0 for value in values], height=0.34, label=label, **style)
            texts = [suppressed if value is None else str(value) for value in values]
            ax.bar_label(bars, texts, padding=3, color=INK, fontsize=8.5)
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.margins(x=0.12)
        ax.set(xlabel="Patients in the training split")
        whole_numbers(ax)
        legend(ax)
    return done[0]


def labels_by_site_csv(counts: Mapping[str, Mapping[str, int | None]], suppressed: str) -> str:
    """Returns columns site, malignant, benign."""
    rows = [
        (site, *(suppressed if row.get(key) is None else row[key] for key in ("malignant", "benign")))
        for site, row in counts.items()
    ]
    return csv_text(("site", "malignant", "benign"), rows)


def forest_svg(rows: Rows) -> str:
    """Returns AUROC with intervals, federated above home, a line for each row of the headline table."""
    names = [row["site"] for row in rows]
    title = "Test AUROC with intervals by site, federated against at home"
    with figure("forest", title, height=rows_height(names)) as (ax, done):
        series = (
            ("auroc", "federated", OKABE_ITO[0], "o", -0.14),
            ("local_auroc", "at home", OKABE_ITO[1], "s", 0.14),
        )
        for key, label, colour, marker, offset in series:
            known = [(place + offset, row[key]) for place, row in enumerate(rows) if row[key]["value"] is not None]
            if known:
                places, areas = zip(*known, strict=True)
                _error_bars(ax, places, areas, label=label, color=colour, marker=marker)
        ax.axvline(0.5, color=INK, lw=0.8, ls=(0, (2, 3)))
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set(xlabel="Test AUROC (0.5 is chance)")
        ax.set_xlim(right=1.01)
        legend(ax)
    return done[0]


def forest_csv(rows: Rows) -> str:
    """Returns columns site, model, auroc, low, high."""
    cells = [
        (row["site"], model, *(row[key][part] for part in ("value", "low", "high")))
        for row in rows
        for key, model in (("auroc", "federated"), ("local_auroc", "local"))
    ]
    return csv_text(("site", "model", "auroc", "low", "high"), cells)


def _error_bars(ax: Axes, places: Sequence[float], areas: Sequence[Mapping[str, float]], **style: Any) -> None:
    values = [area["value"] for area in areas]
    reach = [
        [max(0.0, area["value"] - area["low"]) for area in areas],
        [max(0.0, area["high"] - area["value"]) for area in areas],
    ]
    ax.errorbar(values, places, xerr=reach, ls="none", ms=5.5, capsize=3, lw=1.6, **style)


def _sites_of(rounds: Rows) -> list[str]:
    return sorted({site for row in rounds for site in row.get("val", {}).get("sites", {})})


def _val(row: Mapping[str, Any], site: str | None) -> float | None:
    val = row.get("val", {})
    metrics = val.get("pooled", {}) if site is None else val.get("sites", {}).get(site, {})
    value: float | None = metrics.get("auroc")
    return value


def _dot(index: Sequence[int]) -> dict[str, Any]:
    # One round is a point, and a line of one point is invisible.
    return {"marker": "o", "ms": 4} if len(index) < 30 else {}


def _auroc_limits(ax: Axes) -> tuple[float, float]:
    return min(0.45, ax.dataLim.y0 - 0.03) if math.isfinite(ax.dataLim.y0) else 0.0, 1.01


def _whole_rounds(ax: Axes, index: Sequence[int]) -> None:
    whole_numbers(ax)
    if index:
        ax.set_xlim(min(index) - 0.25, max(index) + 0.25)


def _with_auroc(name: str, metrics: Mapping[str, Any]) -> str:
    value = metrics["auroc"]["value"]
    return name if value is None else f"{name} ({value:.3f})"
