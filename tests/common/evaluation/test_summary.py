"""The JSON of a group of patients: complete, finite, honest where something is not defined."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.evaluation import metrics
from common.evaluation.metrics import Confusion
from common.evaluation.scores import ScoreState
from common.evaluation.summary import Measure, brief, summarise
from tests.common.evaluation.test_metrics import draw

KEYS = {
    *(
        "patients",
        "malignant",
        "majority_share",
        "benign",
        "auroc",
        "accuracy",
        "sensitivity",
        "specificity",
        "precision",
        "recall",
    ),
    *("ppv", "npv", "f1", "confusion", "roc", "auprc", "pr", "balanced_accuracy", "sensitivity_at_specificity"),
    *("brier", "ece", "calibration", "reliability", "net_benefit"),
}
BOOT = Measure(resamples=200, seed=3)


def test_summary_has_the_keys_of_the_contract() -> None:
    document = summarise(ScoreState.of(*draw(0)), threshold=0.5, measure=BOOT, bands=True)
    assert set(document) == KEYS
    assert set(document["auroc"]) == {"value", "low", "high", "method", "binning_error", "bootstrap"}
    assert set(document["accuracy"]) == {"value", "low", "high"} == set(document["f1"])
    assert document["patients"] == document["malignant"] + document["benign"] == sum(document["confusion"].values())
    for name in ("auroc", "auprc", "f1", "brier", "balanced_accuracy", "sensitivity_at_specificity"):
        assert document[name]["low"] < document[name]["value"] < document[name]["high"], name
    for curve, axis in (("roc", "fpr"), ("pr", "recall")):
        band = document[curve]["band"]
        assert len(band[axis]) == len(band["low"]) == len(band["high"]) > 40
        assert all(0 <= low <= high <= 1 for low, high in zip(band["low"], band["high"], strict=True))
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_same_seed_gives_the_same_document_and_none_no_bootstrap() -> None:
    state = ScoreState.of(*draw(1))
    assert summarise(state, threshold=0.5, measure=BOOT) == summarise(state, threshold=0.5, measure=BOOT)
    document = summarise(state, threshold=0.5)
    assert document["auroc"]["bootstrap"] == {"low": None, "high": None} and document["auroc"]["low"] is not None
    assert "band" not in document["roc"]


@pytest.mark.parametrize(("positives", "negatives"), [(0, 0), (3, 0), (0, 3)])
def test_one_class_leaves_none_not_a_guess(positives: int, negatives: int) -> None:
    scores = np.linspace(0.1, 0.4, positives + negatives)
    state = ScoreState.of(scores, np.r_[np.ones(positives, int), np.zeros(negatives, int)])
    document = summarise(state, threshold=0.5, measure=BOOT, bands=True)
    assert document["auroc"]["value"] is document["auroc"]["low"] is metrics.auprc(state) is None
    assert document["precision"]["value"] is None and document["roc"]["fpr"] == [] == document["pr"]["recall"]
    assert (document["sensitivity"]["value"] is None) == (positives == 0)
    assert (document["specificity"]["value"] is None) == (negatives == 0)
    assert document["calibration"]["slope"]["value"] is document["sensitivity_at_specificity"]["value"] is None
    assert (document["brier"]["value"] is None) == (positives + negatives == 0)
    assert metrics.balanced_accuracy(metrics.confusion(state, 0.5)) is None
    json.dumps(document, allow_nan=False)


def test_single_patients_of_each_class_have_an_interval() -> None:
    document = summarise(ScoreState.of([0.2, 0.8], [0, 1]), threshold=0.5, measure=BOOT, bands=True)
    assert document["auroc"]["value"] == 1 and document["auroc"]["method"] == "Newcombe"
    assert document["auroc"]["low"] < 0.5
    assert document["auroc"]["bootstrap"]["low"] is None, "too few to resample"
    json.dumps(document, allow_nan=False)


def test_calls_at_the_sites_own_thresholds_can_be_given() -> None:
    state = ScoreState.of(*draw(2))
    own = Confusion(tp=1, fp=0, tn=state.benign, fn=state.malignant - 1)
    document = summarise(state, threshold=0.5, counts=own, measure=BOOT)
    assert document["confusion"] == {"tp": 1, "fp": 0, "tn": state.benign, "fn": state.malignant - 1}
    assert document["specificity"]["value"] == 1 and document["balanced_accuracy"]["low"] is None


def test_the_line_of_a_round() -> None:
    scores, labels = draw(3)
    line = brief(ScoreState.of(scores, labels), 0.5, 0.95)
    assert line["accuracy"] == pytest.approx(((scores >= 0.5) == labels).mean())
    assert brief(ScoreState.empty(), 0.5, 0.95) == dict.fromkeys(line)


def test_no_bound_is_claimed_for_counts_with_noise() -> None:
    state = ScoreState.of(*draw(0))
    plain, noised = (summarise(state, threshold=0.5, measure=Measure(noised=noised)) for noised in (False, True))
    bounded = ("auroc", "auprc", "brier", "ece", "sensitivity_at_specificity")
    assert all(plain[name]["binning_error"] is not None for name in bounded)
    assert all(noised[name]["binning_error"] is None for name in bounded)
