"""The operating threshold comes from validation alone; net benefit is Vickers and Elkin's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from common.evaluation.decision import net_benefit, operating_point
from common.evaluation.metrics import confusion
from common.evaluation.scores import ScoreState, bin_edges
from tests.common.evaluation.test_metrics import draw


@pytest.mark.parametrize("seed", range(4))
def test_auto_maximises_youden_on_validation(seed: int) -> None:
    scores, labels = draw(seed)
    state = ScoreState.of(scores, labels)
    point = operating_point("auto", state, 4096)
    fpr, tpr, _ = roc_curve(labels, np.searchsorted(bin_edges(4096)[1:-1], scores, side="right"))
    assert point.youden == pytest.approx((tpr - fpr).max())
    counts = confusion(state, point.threshold)
    assert counts.tp / state.malignant - counts.fp / state.benign == pytest.approx(point.youden)
    assert point.how == "Youden on validation" and point.patients == 400


def test_auto_takes_the_middle_of_the_gap_between_the_classes() -> None:
    point = operating_point("auto", ScoreState.of([0.2, 0.25, 0.35, 0.4], [0, 0, 1, 1]), 4096)
    assert point.threshold == pytest.approx(0.3, abs=0.01) and point.youden == 1


@pytest.mark.parametrize(
    "state", [None, ScoreState.empty(), ScoreState.of([0.2, 0.3], [0, 0]), ScoreState.of([0.9, 0.1], [0, 1])]
)
def test_validation_that_cannot_choose_leaves_one_half(state) -> None:
    point = operating_point("auto", state, 4096)
    assert (point.threshold, point.youden) == (0.5, None) and point.how.startswith("fallback")


def test_a_number_is_the_studys_word() -> None:
    point = operating_point(0.3, ScoreState.of(*draw(0)), 4096)
    assert point.threshold == pytest.approx(0.3, abs=1 / 4096) and point.how == "fixed by the study"


@given(st.integers(0, 5), st.sampled_from([17, 64, 4096]))
def test_net_benefit_is_its_definition(seed: int, bins: int) -> None:
    scores, labels = draw(seed, 60)
    curve = net_benefit(ScoreState.of(scores, labels, bins))
    for t, model, everybody in zip(curve["threshold"], curve["model"], curve["all"], strict=True):
        called = scores >= t
        worth = (called & (labels == 1)).mean() - (called & (labels == 0)).mean() * t / (1 - t)
        assert model == pytest.approx(worth)
        assert everybody == pytest.approx(labels.mean() - (1 - labels.mean()) * t / (1 - t))
    assert net_benefit(ScoreState.empty())["model"] == []
