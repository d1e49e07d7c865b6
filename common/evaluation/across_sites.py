"""What the sites' own comparisons say together: averages, worst site and spread, and the do-no-harm gate."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from common.evaluation.answers import PAIRS, OwnModels, Pair
from common.evaluation.comparison import against_margin, average
from common.evaluation.gate import judged, rates
from common.evaluation.own_release import Coarse, OwnAnswer
from common.evaluation.within_sites import pairs


def comparisons(answers: Mapping[str, OwnModels], *, margin: float, confidence: float) -> dict[str, Any]:
    """Returns for each pair of models ``sites.NAME`` and ``pooled``, the mean of the sites' differences.

    A site with too few test patients is null; a pair that no site compared is left out.
    """
    found: dict[str, Any] = {}
    for pair in PAIRS:
        sites = {site: answer.differences[pair] for site, answer in answers.items() if pair in answer.differences}
        if not sites:
            continue
        known = {site: value for site, value in sites.items() if value is not None}
        together = average(known, confidence, _pairs(answers, known))
        found[pair] = {
            "sites": {site: None if value is None else against_margin(value, margin) for site, value in sites.items()},
            "pooled": None if together is None else against_margin(together, margin),
        }
    return found


def _pairs(answers: Mapping[str, OwnModels], sites: Iterable[str]) -> dict[str, int] | None:
    """Returns each site's pairs of patients of both classes; None where one tells no scores."""
    states = {site: [own.scores for own in answers[site].models.values()] for site in sites}
    return {site: pairs(found[0]) for site, found in states.items()} if all(states.values()) else None


def do_no_harm(
    answers: Mapping[str, OwnAnswer], *, margin: float, confidence: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """Returns the gate: does the federated model do worse than the one that a hospital makes at home?

    ``sites.NAME`` as :func:`common.evaluation.gate.judged` has it, and which ``helps``, ``hurts``. ``rates`` says how
    often the gate errs. A site that lets leave less than its differences is judged by its own word, one that keeps all
    not at all.
    """
    return _gate(answers, "federated_minus_local", margin, confidence, seed)


def joining(
    answers: Mapping[str, OwnAnswer], *, margin: float, confidence: float = 0.95, seed: int = 0
) -> dict[str, Any] | None:
    """Returns who gains: the best a hospital has with the federated model, less the best it makes at home.

    As :func:`do_no_harm`; None where the study makes no model with the federated one.
    """
    gate = _gate(answers, "personalised_minus_local", margin, confidence, seed)
    told = any(site["verdict"] != "not measured" for site in gate["sites"].values())
    return gate if told else None


def _gate(answers: Mapping[str, OwnAnswer], pair: Pair, margin: float, confidence: float, seed: int) -> dict[str, Any]:
    told = {
        site: None if answer is None else answer.differences.get(pair)
        for site, answer in answers.items()
        if not isinstance(answer, Coarse)
    }
    words = {site: answer.gate(pair) for site, answer in answers.items() if isinstance(answer, Coarse)}
    found = judged(told, margin=margin, confidence=confidence) | words
    sites = {site: found[site] for site in answers}
    named = {word: [site for site, gate in sites.items() if gate["verdict"] == word] for word in ("helps", "hurts")}
    how_sure = rates(told, margin=margin, confidence=confidence, seed=seed)
    return {"margin": margin, "sites": sites, "rates": how_sure, **named}


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
