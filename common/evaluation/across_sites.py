"""What the sites' own comparisons say together: averages, worst site and spread, and the do-no-harm gate."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from common.evaluation.answers import PAIRS, OwnModels
from common.evaluation.comparison import against_margin, average, harm
from common.evaluation.own_release import Coarse, OwnAnswer


def comparisons(answers: Mapping[str, OwnModels], *, margin: float, confidence: float) -> dict[str, Any]:
    """Returns for each pair of models ``sites.NAME`` and ``pooled``, the mean of the sites' differences.

    A site with too few test patients is null; a pair that no site compared is left out.
    """
    found: dict[str, Any] = {}
    for pair in PAIRS:
        sites = {site: answer.differences[pair] for site, answer in answers.items() if pair in answer.differences}
        if not sites:
            continue
        together = average({site: value for site, value in sites.items() if value is not None}, confidence)
        found[pair] = {
            "sites": {site: None if value is None else against_margin(value, margin) for site, value in sites.items()},
            "pooled": None if together is None else against_margin(together, margin),
        }
    return found


def do_no_harm(answers: Mapping[str, OwnAnswer], *, margin: float) -> dict[str, Any]:
    """Returns the gate: ``sites.NAME`` as :func:`~common.evaluation.comparison.harm` has it, and where it is shut.

    ``shown`` and ``suspected`` name the sites of either verdict; at both the federated model is worse by more than the
    margin. A site that lets leave less than its differences is judged by its own word, one that keeps all not at all.
    """
    sites = {site: _gate(answer, margin) for site, answer in answers.items()}
    named = {
        kind: [site for site, gate in sites.items() if gate["verdict"] == f"harm {kind}"]
        for kind in ("shown", "suspected")
    }
    return {"margin": margin, "sites": sites, **named}


def _gate(answer: OwnAnswer, margin: float) -> dict[str, Any]:
    if isinstance(answer, Coarse):
        return answer.gate()
    return harm(None if answer is None else answer.differences.get("federated_minus_local"), margin)


def spread(block: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``worst`` and ``best`` site by AUROC, ``range`` and ``standard_deviation`` over the sites of a model.

    All null where no site has an AUROC. Small sites differ by chance alone: read it with their intervals.
    """
    areas = {site: row["auroc"]["value"] for site, row in block["sites"].items() if row["auroc"]["value"] is not None}
    if not areas:
        return dict.fromkeys(("worst", "best", "range", "standard_deviation"))
    worst, best = min(areas, key=lambda site: areas[site]), max(areas, key=lambda site: areas[site])
    return {
        "worst": {"site": worst, "auroc": areas[worst]},
        "best": {"site": best, "auroc": areas[best]},
        "range": areas[best] - areas[worst],
        "standard_deviation": statistics.stdev(areas.values()) if len(areas) > 1 else None,
    }
