"""Groups are judged like everybody, small ones not at all, and a gap names its groups."""

from __future__ import annotations

import numpy as np

from common.evaluation.fairness import fairness
from common.evaluation.scores import ScoreState
from common.evaluation.subgroups import grouped_state
from common.evaluation.summary import Measure, summarise
from tests.common.evaluation.test_metrics import draw


def test_the_table_is_each_groups_own_summary_and_small_groups_have_none() -> None:
    scores, labels = draw(0, 300)
    rows = [{"scanner": "A" if i < 150 else "B" if i < 288 else "C"} for i in range(300)]
    state = grouped_state(scores, labels, rows, ["scanner"], bins=4096, min_cell=1)
    table = fairness(state, threshold=0.5, measure=Measure(), min_group=20)["scanner"]
    alone = summarise(ScoreState.of(scores[:150], labels[:150]), threshold=0.5)
    assert table["groups"]["a"]["sensitivity"] == alone["sensitivity"]
    assert table["groups"]["c"] == {
        **{"patients": 12, "malignant": int(labels[288:].sum()), "benign": int(12 - labels[288:].sum())},
        **{"enough": False},
        **dict.fromkeys(("auroc", "sensitivity", "specificity", "ppv", "npv", "brier", "ece")),
    }
    values = {name: table["groups"][name]["specificity"]["value"] for name in "ab"}
    gap = table["gaps"]["specificity"]
    assert gap["value"] == np.ptp(list(values.values()))
    assert values[gap["lowest"]] < values[gap["highest"]]


def test_one_group_has_no_gap_and_nobody_no_table() -> None:
    scores, labels = draw(0, 100)
    rows = [{"scanner": "A"}] * 100
    state = grouped_state(scores, labels, rows, ["scanner"], bins=64, min_cell=5)
    assert fairness(state, threshold=0.5, measure=Measure(), min_group=20)["scanner"]["gaps"]["auroc"]["value"] is None
    assert fairness(ScoreState.empty(), threshold=0.5, measure=Measure(), min_group=20) == {}
