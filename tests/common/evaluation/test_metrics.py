"""Metrics against scikit-learn on pooled raw scores and against DeLong's definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as reference

from common.evaluation import metrics
from common.evaluation.scores import ScoreState, bin_edges, nearest_edge


def draw(seed: int, patients: int = 400, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(patients) < 0.35).astype(np.int64)
    logits = rng.normal(labels * 1.5 - 0.5, 1.0) * spread
    return 1 / (1 + np.exp(-logits)), labels


rows = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=2, max_size=60)


@given(rows, st.sampled_from([16, 64, 4096]))
def test_auroc_is_within_its_bound_of_scikit_learn(rows, bins: int) -> None:
    scores, labels = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    assume(0 < labels.sum() < labels.size)
    state = ScoreState.of(scores, labels, bins)
    error = abs(metrics.auroc(state) - reference.roc_auc_score(labels, scores))
    assert error <= metrics.auroc_binning_error(state) + 1e-12


@pytest.mark.parametrize("spread", [0.2, 1.0, 4.0])
def test_pooled_sites_give_scikit_learns_figures(spread: float) -> None:
    sites = [draw(seed, patients=300, spread=spread) for seed in range(4)]
    state = sum((ScoreState.of(*site) for site in sites), ScoreState.empty())
    scores, labels = (np.concatenate(part) for part in zip(*sites, strict=True))
    assert abs(metrics.auroc(state) - reference.roc_auc_score(labels, scores)) <= metrics.auroc_binning_error(state)
    assert metrics.auroc_binning_error(state) < 1e-3
    assert metrics.auprc(state) == pytest.approx(reference.average_precision_score(labels, scores), abs=2e-3)


@pytest.mark.parametrize("seed", range(5))
def test_auprc_is_average_precision_of_the_binned_scores(seed: int) -> None:
    scores, labels = draw(seed)
    state = ScoreState.of(scores, labels, 64)
    binned = np.searchsorted(bin_edges(64)[1:-1], scores, side="right")
    assert metrics.auprc(state) == pytest.approx(reference.average_precision_score(labels, binned), abs=1e-12)


@given(rows, st.sampled_from([16, 64, 4096]))
def test_auprc_is_within_its_bound_of_scikit_learn(rows, bins: int) -> None:
    scores, labels = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    assume(0 < labels.sum() < labels.size)
    state = ScoreState.of(scores, labels, bins)
    error = abs(metrics.auprc(state) - reference.average_precision_score(labels, scores))
    assert error <= metrics.auprc_binning_error(state) + 1e-9


@pytest.mark.parametrize("bins", [16, 64])
def test_the_auprc_bound_is_reached(bins: int) -> None:
    """Five benign patients above five malignant ones in one bin: no smaller bound could be proved."""
    scores = np.concatenate([np.full(5, 0.9901), np.full(5, 0.99)])
    labels = np.repeat([0, 1], 5)
    ranked = scores - 1e-6 * np.arange(10)
    state = ScoreState.of(ranked, labels, bins)
    error = metrics.auprc(state) - reference.average_precision_score(labels, ranked)
    assert error == pytest.approx(metrics.auprc(state) - np.mean([j / (5 + j) for j in range(1, 6)]))
    assert metrics.auprc_binning_error(state) == pytest.approx(max(error, 1 - metrics.auprc(state)))


@given(rows, st.sampled_from([0.5, 0.8, 0.9, 0.95]), st.sampled_from([16, 4096]))
def test_sensitivity_at_specificity_is_read_off_the_roc_curve(rows, specificity: float, bins: int) -> None:
    scores, labels = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    assume(0 < labels.sum() < labels.size)
    state = ScoreState.of(scores, labels, bins)
    found = metrics.sensitivity_at_specificity(state, specificity)
    fpr, tpr, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
    best = tpr[fpr <= 1 - specificity + 1e-9].max()
    assert found["value"] - 1e-9 <= best <= found["value"] + found["binning_error"] + 1e-9
    counts = metrics.confusion(state, found["threshold"]) if found["threshold"] < 1 else None
    if counts is not None:
        assert counts.tn / state.benign >= specificity - 1e-9
        assert counts.tp / state.malignant == found["value"]


@given(rows)
def test_precision_recall_points_are_scikit_learns(rows) -> None:
    scores, labels = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    assume(0 < labels.sum() < labels.size)
    binned = np.searchsorted(bin_edges(64)[1:-1], scores, side="right")
    points = metrics.pr_points(ScoreState.of(scores, labels, 64))
    precision, recall, _ = reference.precision_recall_curve(labels, binned)
    theirs = {round(r, 9): p for p, r in zip(precision[:-1], recall[:-1], strict=True)}
    assert points["recall"][-1] == 1 and sorted(points["recall"]) == points["recall"]
    best = [max(p for p, r in zip(precision[:-1], recall[:-1], strict=True) if round(r, 9) == round(x, 9))
            for x in points["recall"]]  # fmt: skip
    assert points["precision"] == pytest.approx(best) and theirs


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.77])
@pytest.mark.parametrize("seed", range(3))
def test_rates_at_the_threshold_are_scikit_learns(threshold: float, seed: int) -> None:
    scores, labels = draw(seed)
    state = ScoreState.of(scores, labels)
    called = scores >= nearest_edge(threshold, state.bins)
    counts = metrics.confusion(state, threshold)
    tn, fp, fn, tp = reference.confusion_matrix(labels, called).ravel().tolist()
    assert counts == metrics.Confusion(tp=tp, fp=fp, tn=tn, fn=fn)
    values = {name: rate.value for name, rate in metrics.rates(counts, 0.95).items()}
    assert values["accuracy"] == pytest.approx(reference.accuracy_score(labels, called))
    assert values["precision"] == pytest.approx(reference.precision_score(labels, called))
    assert values["recall"] == values["sensitivity"] == pytest.approx(reference.recall_score(labels, called))
    assert values["specificity"] == pytest.approx(reference.recall_score(labels, called, pos_label=0))
    assert values["ppv"] == values["precision"]
    assert values["npv"] == pytest.approx(reference.precision_score(1 - labels, ~called))
    assert metrics.f1(counts) == pytest.approx(reference.f1_score(labels, called))
    assert metrics.balanced_accuracy(counts) == pytest.approx(reference.balanced_accuracy_score(labels, called))


def naive_delong(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """All m x n comparisons, as the paper writes them."""
    x, y = scores[labels == 1][:, None], scores[labels == 0][None, :]
    psi = (x > y) + 0.5 * (x == y)
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    return psi.mean(), v10.var(ddof=1) / v10.size + v01.var(ddof=1) / v01.size


@pytest.mark.parametrize("bins", [16, 64, 4096])
@pytest.mark.parametrize("seed", range(3))
def test_delong_from_histograms_is_delong_of_the_binned_scores(seed: int, bins: int) -> None:
    scores, labels = draw(seed, patients=150)
    state = ScoreState.of(scores, labels, bins)
    binned = np.searchsorted(bin_edges(bins)[1:-1], scores, side="right")
    area, variance = metrics.delong(state.positives, state.negatives)
    expected = naive_delong(binned, labels)
    assert (float(area), float(variance)) == pytest.approx(expected, rel=1e-12)


@given(rows)
def test_roc_runs_from_corner_to_corner_and_its_area_is_the_auroc(rows) -> None:
    state = ScoreState.of([r[0] for r in rows], [r[1] for r in rows], 64)
    roc = metrics.roc_points(state)
    if metrics.auroc(state) is None:
        assert roc == {"fpr": [], "tpr": [], "threshold": []}
        return
    assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(metrics.auroc(state), abs=1e-12)
    assert (np.diff(roc["threshold"]) < 0).all()


def test_a_thinned_roc_keeps_its_shape() -> None:
    scores, labels = draw(0, patients=20_000)
    state = ScoreState.of(scores, labels)
    roc = metrics.roc_points(state)
    assert 100 < len(roc["fpr"]) <= 200
    assert (np.diff(roc["fpr"]) >= 0).all() and (np.diff(roc["tpr"]) >= 0).all()
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(metrics.auroc(state), abs=1e-3)
    middle = len(roc["fpr"]) // 2
    called = scores >= roc["threshold"][middle]
    assert roc["tpr"][middle] == pytest.approx(called[labels == 1].mean())
    assert roc["fpr"][middle] == pytest.approx(called[labels == 0].mean())
