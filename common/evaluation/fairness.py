"""The same model, group by group: what each subgroup of the test patients gets, and how far apart the groups are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.evaluation.chance import gaps_by_chance
from common.evaluation.scores import ScoreState
from common.evaluation.summary import Measure, summarise

SHOWN = ("auroc", "sensitivity", "specificity", "ppv", "npv", "brier", "ece")
COMPARED = ("auroc", "sensitivity", "specificity")


def fairness(state: ScoreState, *, threshold: float, measure: Measure, min_group: int) -> dict[str, Any]:
    """Returns attribute -> ``groups`` and ``gaps``; empty when the state has no subgroups.

    A group with fewer than ``min_group`` patients keeps its counts, is not ``enough`` and has null metrics. A gap is
    the largest value less the smallest among groups that are enough and have one, with the names of both, and null
    with fewer than two such groups. Gaps between small groups are mostly chance, so ``by_chance`` stands beside each:
    the gap of groups of these sizes that a model treats alike (:func:`common.evaluation.chance.gaps_by_chance`).
    """
    table: dict[str, Any] = {}
    for name, group in state.groups.items():
        attribute, _, value = name.partition("=")
        row = _row(group, threshold, measure, min_group)
        table.setdefault(attribute, {"groups": {}})["groups"][value] = row
    for attribute, block in table.items():
        block["gaps"] = {metric: _gap(block["groups"], metric) for metric in COMPARED}
        _beside_chance(
            block, {name: state.groups[f"{attribute}={name}"] for name in block["groups"]}, threshold, measure
        )
    return table


def _beside_chance(
    block: Mapping[str, Any], groups: Mapping[str, ScoreState], threshold: float, measure: Measure
) -> None:
    enough = {name: group for name, group in groups.items() if block["groups"][name]["enough"]}
    observed = {metric: gap["value"] for metric, gap in block["gaps"].items()}
    known = any(value is not None for value in observed.values())
    found = gaps_by_chance(enough, threshold=threshold, seed=measure.seed, observed=observed) if known else {}
    for metric, gap in block["gaps"].items():
        gap["by_chance"] = found.get(metric) or dict.fromkeys(("median", "high", "p"))


def _row(group: ScoreState, threshold: float, measure: Measure, min_group: int) -> dict[str, Any]:
    row: dict[str, Any] = {"patients": group.patients, "malignant": group.malignant, "benign": group.benign}
    row["enough"] = group.patients >= min_group
    if not row["enough"]:
        return row | dict.fromkeys(SHOWN)
    metrics = summarise(group, threshold=threshold, measure=measure)
    return row | {name: metrics[name] for name in SHOWN}


def _gap(groups: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, Any]:
    values = {
        name: row[metric]["value"] for name, row in groups.items() if row[metric] and row[metric]["value"] is not None
    }
    if len(values) < 2:
        return {"value": None, "lowest": None, "highest": None}
    lowest, highest = min(values, key=lambda name: values[name]), max(values, key=lambda name: values[name])
    return {"value": values[highest] - values[lowest], "lowest": lowest, "highest": highest}
