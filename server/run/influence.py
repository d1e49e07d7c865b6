"""How much each site bends a run: what a coordinator looks at when one hospital is suspected of inventing figures.

Two views, neither of which asks a site anything more: how far its updates reach, and what the chosen round's pooled
validation AUROC would be without its patients. What the model would be without its updates is not measured: scoring
that model would take one more question about validation patients a site and round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.evaluation.metrics import auroc
from common.evaluation.scores import ScoreState
from server.run.assessment import total


def influence(
    weights: Mapping[str, int], rows: Sequence[Mapping[str, Any]], validation: Mapping[str, ScoreState]
) -> list[dict[str, Any]]:
    """Returns one line a site, by name.

    Args:
        weights: Weight of each site in the mean.
        rows: The run's rounds, as in ``metrics.jsonl``.
        validation: Score states of the chosen round, by site.

    Returns:
        ``site``; ``weight`` (share of the sites' total, 0 to 1); ``largest_norm`` of an update that counted and the
        ``clipped_rounds`` in which it was scaled down; ``auroc_without`` (pooled over the other sites) and ``moves``,
        the pooled AUROC less that; None where it is not defined.
    """
    pooled = auroc(total(validation)) if validation else None
    return [_line(site, weights, rows, validation, pooled) for site in sorted(weights)]


def _line(
    site: str,
    weights: Mapping[str, int],
    rows: Sequence[Mapping[str, Any]],
    validation: Mapping[str, ScoreState],
    pooled: float | None,
) -> dict[str, Any]:
    others = {name: state for name, state in validation.items() if name != site}
    without = auroc(total(others)) if others and site in validation else None
    return {
        "site": site,
        "weight": weights[site] / sum(weights.values()),
        "largest_norm": max((row["norms"][site] for row in rows if site in row.get("norms", {})), default=None),
        "clipped_rounds": sum(site in row.get("clipped", {}) for row in rows),
        "auroc_without": without,
        "moves": None if without is None or pooled is None else pooled - without,
    }
