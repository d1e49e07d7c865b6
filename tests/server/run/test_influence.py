"""Each site's line is the run with and without it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from common.evaluation.scores import ScoreState
from server.run.influence import influence

RNG = np.random.default_rng(3)
SCORES = {site: (RNG.random(40), RNG.random(40) < 0.4) for site in ("a", "b", "c")}
SCORES["a"] = (np.where(SCORES["a"][1], 0.9, 0.1), SCORES["a"][1])  # it invents a perfect model
STATES = {site: ScoreState.of(scores, labels.astype(int), 4096) for site, (scores, labels) in SCORES.items()}


def _area(*sites: str) -> float:
    scores, labels = (np.concatenate([SCORES[site][part] for site in sites]) for part in (0, 1))
    return float(roc_auc_score(labels, scores))


def test_a_line_says_what_the_pooled_figure_would_be_without_the_site() -> None:
    rows = [{"norms": {"a": 9.0, "b": 1.0}, "clipped": {"a": 3.0}}, {"norms": {"a": 4.0, "b": 2.0}, "clipped": {}}]
    lines = {line["site"]: line for line in influence({"a": 20, "b": 20, "c": 40}, rows, STATES)}
    assert lines["a"]["auroc_without"] == pytest.approx(_area("b", "c"), abs=0.002)
    assert lines["a"]["moves"] == pytest.approx(_area("a", "b", "c") - _area("b", "c"), abs=0.004)
    assert lines["a"]["moves"] > 0.1 > abs(lines["b"]["moves"])
    assert (lines["a"]["weight"], lines["a"]["largest_norm"], lines["a"]["clipped_rounds"]) == (0.25, 9.0, 1)
    assert (lines["c"]["largest_norm"], lines["c"]["clipped_rounds"]) == (None, 0)


def test_what_is_not_defined_is_none() -> None:
    assert influence({}, [], {}) == []
    (line,) = influence({"a": 5}, [], {"a": STATES["a"]})
    assert line["auroc_without"] is None and line["moves"] is None
