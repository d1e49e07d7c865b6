"""Calibration from counts: scikit-learn, torchmetrics and statistical truth as references, bounds held."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import binary_calibration_error

from common.evaluation import calibration
from common.evaluation.calibration import (
    brier,
    brier_error,
    ece,
    ece_error,
    recalibrated,
    recalibrated_probability,
    released,
    reliability,
    summarise_calibration,
)
from common.evaluation.recalibration import Graded, Line, apply, recalibration
from common.evaluation.scores import ScoreState, nearest_edge
from tests.common.evaluation.test_metrics import draw

rows = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=60)
BINS = st.sampled_from([16, 64, 4096])


def arrays(rows: list[tuple[float, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in rows]), np.array([label for _, label in rows])


@given(rows, BINS)
def test_brier_is_within_its_bound_of_scikit_learn(rows, bins: int) -> None:
    scores, labels = arrays(rows)
    graded = Graded.of(ScoreState.of(scores, labels, bins))
    assert abs(brier(graded) - brier_score_loss(labels, scores, pos_label=1)) <= brier_error(graded) + 1e-12
    assert brier_error(graded) <= 3 / bins


@given(rows, BINS)
def test_ece_is_within_its_bound_of_its_definition(rows, bins: int) -> None:
    scores, labels = arrays(rows)
    graded = Graded.of(ScoreState.of(scores, labels, bins))
    cuts = [nearest_edge(step / 10, bins) for step in range(1, 10)]
    group = np.searchsorted(cuts, scores, side="right")
    truth = sum(abs(scores[group == g].sum() - labels[group == g].sum()) for g in range(10)) / scores.size
    assert abs(ece(reliability(graded, bins)) - truth) <= ece_error(graded) + 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_ece_is_torchmetrics(seed: int) -> None:
    scores, labels = draw(seed)
    graded = Graded.of(ScoreState.of(scores, labels))
    theirs = binary_calibration_error(torch.from_numpy(scores), torch.from_numpy(labels), n_bins=10, norm="l1")
    # A patient within 1/4096 of a tenth may be in the group beside.
    assert ece(reliability(graded, 4096)) == pytest.approx(float(theirs), abs=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_recalibration_is_scikit_learns_logistic_regression(seed: int) -> None:
    scores, labels = draw(seed, spread=1.7)
    graded = Graded.of(ScoreState.of(scores, labels))
    log_odds = np.log(scores / (1 - scores))[:, None]
    both, slope = recalibration(graded), recalibration(graded, "slope")
    exact = {"C": np.inf, "tol": 1e-10, "max_iter": 1000}
    theirs = LogisticRegression(**exact).fit(log_odds, labels)
    assert (both.intercept, both.slope) == pytest.approx((theirs.intercept_[0], theirs.coef_[0, 0]), rel=5e-3)
    only = LogisticRegression(fit_intercept=False, **exact).fit(log_odds, labels)
    assert slope.slope == pytest.approx(only.coef_[0, 0], rel=5e-3) and slope.intercept == 0
    # The score equation of the intercept alone: mean prediction is the share of malignant patients.
    large = recalibration(graded, "intercept")
    assert apply(large, graded).values @ (graded.positives + graded.negatives) == pytest.approx(labels.sum())
    assert large.slope == 1 and large.slope_error is None


def test_slope_and_intercept_find_the_truth_and_their_intervals_cover_it() -> None:
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        log_odds = generator.normal(0, 1.5, 300)
        labels = (generator.random(300) < 1 / (1 + np.exp(-(0.4 + 0.6 * log_odds)))).astype(int)
        found = calibration.summarise_calibration(ScoreState.of(1 / (1 + np.exp(-log_odds)), labels), 0.95)
        covered.append(
            [
                found["calibration"][name]["low"] <= truth <= found["calibration"][name]["high"]
                for name, truth in (("slope", 0.6), ("intercept", 0.4))
            ]
        )
    assert (np.abs(np.mean(covered, axis=0) - 0.95) < 0.045).all()


@pytest.mark.parametrize(
    ("scores", "labels"),
    [([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]), ([0.1, 0.9], [1, 1]), ([0.5] * 4, [0, 1, 0, 1]), ([], [])],
    ids=["separated", "one class", "all alike", "nobody"],
)
def test_a_fit_without_a_maximum_is_none(scores, labels) -> None:
    state = ScoreState.of(np.array(scores, float), np.array(labels, int))
    assert recalibration(Graded.of(state)) is None
    figures = recalibrated({"a": state}, {"a": state})
    assert figures["sites"]["a"]["platt"] is None is figures["pooled"]["platt"]


def test_scaling_fitted_on_validation_mends_an_overconfident_model() -> None:
    """Log-odds four times too large and shifted: temperature finds 1/4, Platt the shift too; the order is kept."""
    generator = np.random.default_rng(1)

    def sample(patients: int) -> tuple[np.ndarray, np.ndarray]:
        truth = generator.normal(0, 1.2, patients)
        labels = (generator.random(patients) < 1 / (1 + np.exp(-truth))).astype(int)
        return 1 / (1 + np.exp(-(4 * truth + 2))), labels

    validation, (scores, labels) = ScoreState.of(*sample(4000)), sample(4000)
    figures = recalibrated({"a": ScoreState.of(scores, labels)}, {"a": validation})["sites"]["a"]
    assert figures["validation_patients"] == 4000
    assert figures["none"]["log_loss"] == pytest.approx(log_loss(labels, scores), rel=1e-2)
    assert figures["platt"]["slope"] == pytest.approx(0.25, abs=0.02)
    assert figures["platt"]["intercept"] == pytest.approx(-0.5, abs=0.15)
    for name in ("brier", "log_loss", "ece"):
        assert figures["platt"][name] < figures["temperature"][name] < figures["none"][name]
    assert figures["platt"]["ece"] < 0.03


def test_scaling_that_would_turn_the_order_round_is_not_offered() -> None:
    scores, labels = draw(0)
    turned = ScoreState.of(1 - scores, labels)
    figures = recalibrated({"a": turned}, {"a": turned})["sites"]["a"]
    assert figures["platt"] is None and figures["none"] is not None


def test_sites_are_mended_each_in_its_own_way_and_pooled() -> None:
    """Two sites whose scores are shifted in opposite directions: no common line would do, each site's own does."""
    generator = np.random.default_rng(2)

    def sample(shift: float) -> tuple[np.ndarray, np.ndarray]:
        truth = generator.normal(0, 1.2, 1500)
        return 1 / (1 + np.exp(-(truth + shift))), (generator.random(1500) < 1 / (1 + np.exp(-truth))).astype(int)

    validation, test = ({site: ScoreState.of(*sample(s)) for site, s in (("a", 1.5), ("b", -1.5))} for _ in range(2))
    found = recalibrated(test, validation)
    assert found["pooled"]["platt"]["ece"] < 0.05 < found["sites"]["a"]["none"]["ece"]
    weighted = np.mean([found["sites"][site]["platt"]["brier"] for site in "ab"])
    assert found["pooled"]["platt"]["brier"] == pytest.approx(weighted)
    assert found["pooled"]["none"]["brier"] == pytest.approx(brier(Graded.of(test["a"] + test["b"])))
    without = recalibrated(test, {"a": validation["a"]})
    assert without["sites"]["b"]["platt"] is None is without["pooled"]["platt"]
    assert without["sites"]["b"]["validation_patients"] == 0 and without["pooled"]["none"] is not None


def test_recalibrated_reach_holds_the_recalibrated_ends() -> None:
    graded = Graded.of(ScoreState.of(*draw(0), bins=32))
    moved = apply(Line(0.3, 2.0, None, None), graded)
    for sign in (-1, 1):
        inside = graded.values + sign * 0.999 * graded.reach
        there = 1 / (1 + np.exp(-(0.3 + 2 * np.log(inside / (1 - inside)))))
        assert (np.abs(there - moved.values) <= moved.reach + 1e-12).all()


def timid(seed: int, count: int) -> ScoreState:
    """Patients whose true log-odds are 5 times the scored ones, and 1 higher."""
    generator = np.random.default_rng(seed)
    scored = generator.normal(-0.3, 0.3, count)
    labels = generator.random(count) < 1 / (1 + np.exp(-(5 * scored + 1)))
    return ScoreState.of(1 / (1 + np.exp(-scored)), labels)


def test_what_goes_with_a_release_mends_a_timid_model() -> None:
    found = released(timid(0, 3000), timid(1, 3000), 0.95)
    assert found["method"] == "platt" and found["validation_patients"] == 3000
    assert found["slope"] == pytest.approx(5, rel=0.15) and found["intercept"] == pytest.approx(1, abs=0.2)
    before = summarise_calibration(timid(0, 3000), 0.95)
    assert found["ece"] < 0.25 * before["ece"]["value"] and found["brier"] < before["brier"]["value"]
    assert found["calibration"]["slope"]["low"] < 1 < found["calibration"]["slope"]["high"]


@pytest.mark.parametrize("validation", [None, ScoreState.of([0.1, 0.2], [0, 0]), ScoreState.of([0.1, 0.9], [1, 0])])
def test_where_nothing_can_be_fitted_scores_stay_as_they_are(validation: ScoreState | None) -> None:
    test = timid(0, 200)
    found = released(test, validation, 0.95)
    assert (found["method"], found["intercept"], found["slope"]) == ("none", 0.0, 1.0)
    assert found["ece"] == pytest.approx(summarise_calibration(test, 0.95)["ece"]["value"], abs=1e-9)


@given(st.floats(0, 1), st.floats(-3, 3), st.floats(0.1, 10))
def test_a_recalibrated_probability_is_the_line_in_log_odds(score: float, intercept: float, slope: float) -> None:
    found = recalibrated_probability(score, intercept, slope)
    assert 0 <= found <= 1
    line = intercept + slope * (np.log(score) - np.log1p(-score)) if 0 < score < 1 else np.inf
    if abs(line) < 15:
        assert np.log(found) - np.log1p(-found) == pytest.approx(line, rel=1e-4, abs=1e-4)
