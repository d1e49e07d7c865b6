"""Figures of how a model would serve: precision and recall, reliability, net benefit, differences, price of privacy.

As :mod:`common.reporting.figures.plots`: pure functions, SVG text and a CSV twin with the plotted values. The metrics
are blocks of ``evaluation.json`` (``docs/metrics.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.reporting.figures.drawing import (
    INK,
    OKABE_ITO,
    Rows,
    band,
    band_rows,
    csv_text,
    figure,
    legend,
    or_nan,
    rows_height,
)

Metrics = Mapping[str, Any]


def pr_svg(pooled: Metrics) -> str:
    """Returns precision against recall with its band, and the share of malignant patients that chance would give."""
    with figure("precision-recall", "Precision against recall on test patients, pooled", height=3.8) as (ax, done):
        curve, share = pooled["pr"], pooled["malignant"] / pooled["patients"]
        band(ax, curve.get("band"), "recall")
        ax.plot(curve["recall"], curve["precision"], color=INK, lw=2.2, label="pooled", drawstyle="steps-pre")
        ax.axhline(share, color=INK, lw=0.8, ls=(0, (2, 3)), label=f"share of malignant patients ({share:.2f})")
        ax.set(xlabel="Recall (found among malignant)", ylabel="Precision (right among called malignant)")
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
        legend(ax)
    return done[0]


def pr_csv(pooled: Metrics) -> str:
    """Returns columns part (``curve`` or ``band``), recall, precision, low, high."""
    curve = pooled["pr"]
    rows = [("curve", x, y, None, None) for x, y in zip(curve["recall"], curve["precision"], strict=True)]
    rows += [("band", x, None, *limits) for x, *limits in band_rows(curve.get("band"), "recall")]
    return csv_text(("part", "recall", "precision", "low", "high"), rows)


def reliability_svg(pooled: Metrics) -> str:
    """Returns the observed share of malignant patients against the mean probability, a point a group of probabilities.

    The area of a point grows with its patients; on the diagonal a probability means what it says.
    """
    with figure("reliability", "Reliability diagram on test patients, pooled", height=4.2) as (ax, done):
        groups = [row for row in _groups(pooled) if row[2]]
        ax.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=(0, (2, 3)), label="as it should be")
        if groups:
            _, _, patients, score, observed = zip(*groups, strict=True)
            ax.plot(score, observed, color=OKABE_ITO[0], lw=1.2)
            sizes = [12 + 160 * count / max(patients) for count in patients]
            ax.scatter(
                score, observed, s=sizes, color=OKABE_ITO[0], label="patients of a tenth, larger for more", zorder=3
            )
        ax.set(xlabel="Mean predicted probability", ylabel="Observed share of malignant")
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), aspect="equal")
        legend(ax)
    return done[0]


def reliability_csv(pooled: Metrics) -> str:
    """Returns columns low, high, patients, score, observed."""
    return csv_text(("low", "high", "patients", "score", "observed"), _groups(pooled))


SHOWN = 0.5
"""Threshold probabilities up to here are drawn: nobody waits with a biopsy for more than even odds."""


def decision_svg(pooled: Metrics) -> str:
    """Returns net benefit against the threshold probability, beside treating everyone and nobody."""
    with figure("decision-curve", "Decision curve: net benefit by threshold probability", height=3.6) as (ax, done):
        curve = pooled["net_benefit"]
        ax.plot(curve["threshold"], _gaps(curve["all"]), color=OKABE_ITO[1], lw=1.4, ls="--", label="everyone")
        ax.plot([0, SHOWN], [0, 0], color=INK, lw=1.0, ls=":", label="nobody")
        ax.plot(curve["threshold"], _gaps(curve["model"]), color=OKABE_ITO[0], lw=2.2, label="the model")
        shown = [value for at, value in zip(curve["threshold"], curve["model"], strict=True) if at <= SHOWN]
        best = max((value for value in shown if value is not None), default=0.1)
        ax.set(xlabel="Threshold probability of malignancy", ylabel="Net benefit")
        ax.set(xlim=(0, SHOWN), ylim=(-0.25 * best - 0.02, 1.1 * best + 0.01))
        legend(ax)
    return done[0]


def decision_csv(pooled: Metrics) -> str:
    """Returns columns threshold, model, everyone."""
    curve = pooled["net_benefit"]
    rows = zip(*(curve[key] for key in ("threshold", "model", "all")), strict=True)
    return csv_text(("threshold", "model", "everyone"), list(rows))


def differences_svg(rows: Rows, margin: float) -> str:
    """Returns paired differences of AUROC by site with intervals, federated less at home, and the margin."""
    names = [row["site"] for row in rows]
    with figure("differences", "Federated less home AUROC by site", height=rows_height(names)) as (ax, done):
        known = [(place, row["difference"]) for place, row in enumerate(rows) if row["difference"] is not None]
        for place, found in known:
            reach = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
            ax.errorbar([found["value"]], [place], xerr=reach, fmt="o", color=OKABE_ITO[0], ms=5.5, capsize=3, lw=1.6)
        ax.axvline(0, color=INK, lw=1.0)
        ax.axvline(-margin, color=OKABE_ITO[1], lw=1.4, ls="--", label=f"margin -{margin:g}")
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set(xlabel="Difference of AUROC on the same test patients (above 0: federating helps)")
        legend(ax)
    return done[0]


def differences_csv(rows: Rows, margin: float) -> str:
    """Returns columns site, difference, low, high, margin."""
    cells = [(row["site"], *(found[key] for key in ("value", "low", "high")), margin)
             for row in rows if (found := row["difference"]) is not None]  # fmt: skip
    return csv_text(("site", "difference", "low", "high", "margin"), cells)


def price_svg(rounds: Rows) -> str:
    """Returns validation AUROC against the largest epsilon that a site had charged by then."""
    with figure("epsilon-auroc", "Validation AUROC against epsilon charged", height=3.3) as (ax, done):
        points = _price(rounds)
        ax.plot([or_nan(p[1]) for p in points], [or_nan(p[2]) for p in points], color=OKABE_ITO[0], marker="o", ms=3.5)
        ax.axhline(0.5, color=INK, lw=0.8, ls=(0, (2, 3)))
        ax.set(xlabel="Epsilon charged (largest of the sites)", ylabel="Validation AUROC (0.5 is chance)")
        ax.set_xlim(left=0)
    return done[0]


def price_csv(rounds: Rows) -> str:
    """Returns columns round, epsilon, auroc."""
    return csv_text(("round", "epsilon", "auroc"), _price(rounds))


def _price(rounds: Rows) -> list[tuple[int, float | None, float | None]]:
    return [
        (
            row["round"],
            max((value for value in row.get("epsilon", {}).values() if value is not None), default=None),
            row.get("val", {}).get("pooled", {}).get("auroc"),
        )
        for row in rounds
    ]


def _groups(pooled: Metrics) -> list[tuple[Any, ...]]:
    block = pooled["reliability"]
    return list(zip(*(block[key] for key in ("low", "high", "patients", "score", "observed")), strict=True))


def _gaps(values: list[float | None]) -> list[float]:
    return [or_nan(value) for value in values]
