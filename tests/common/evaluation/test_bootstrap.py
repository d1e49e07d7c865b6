"""Resampled counts are resampled patients: against a naive bootstrap, and as sums over sites."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from common.evaluation import bootstrap
from common.evaluation.bootstrap import ROWS, Replicates
from common.evaluation.scores import ScoreState, bin_edges
from tests.common.evaluation.test_metrics import draw

BINS = 64


def binned(scores: np.ndarray) -> np.ndarray:
    return np.searchsorted(bin_edges(BINS)[1:-1], scores, side="right")


def whole(strata: dict[str, ScoreState], resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns replicate histograms (R, B) of both classes."""
    found = [np.zeros((resamples, BINS), np.int64) for _ in range(2)]
    start = 0
    for chunk in bootstrap.replicates(strata, resamples, seed):
        rows = slice(start, start + len(chunk.positives))
        found[0][rows, chunk.bins], found[1][rows, chunk.bins] = chunk.positives, chunk.negatives
        start += len(chunk.positives)
    assert start == resamples
    return found[0], found[1]


def test_replicates_of_a_federation_are_the_sums_of_its_sites_replicates() -> None:
    strata = {name: ScoreState.of(*draw(seed, 40 + 300 * seed), BINS) for seed, name in enumerate(["b", "a", "c"])}
    together = whole(strata, 100, 5)
    alone = [whole({name: state}, 100, 5) for name, state in strata.items()]
    for label in (0, 1):
        np.testing.assert_array_equal(together[label], sum(part[label] for part in alone))
    for name, state in strata.items():
        positives, negatives = whole({name: state}, ROWS + 1, 5)
        assert ((positives + negatives).sum(1) == state.patients).all()


@pytest.mark.parametrize("patients", [60, 5000])
def test_resampled_counts_have_the_law_of_resampled_patients(patients: int) -> None:
    """Mean and covariance of drawn counts are the multinomial's; small sets draw patients, large ones counts."""
    state = ScoreState.of(*draw(1, patients), 16)
    counts = np.concatenate([state.positives, state.negatives])
    draws = np.concatenate(
        [
            np.concatenate([_spread(chunk, "positives", 16), _spread(chunk, "negatives", 16)], axis=1)
            for chunk in bootstrap.replicates({"": state}, 4000, 0)
        ]
    )
    share = counts / patients
    np.testing.assert_allclose(draws.mean(0), counts, atol=5 * np.sqrt(counts.max() / 4000))
    covariance = patients * (np.diag(share) - np.outer(share, share))
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.1 * covariance.max())


def _spread(chunk: Replicates, name: str, bins: int) -> np.ndarray:
    full = np.zeros((len(chunk.positives), bins))
    full[:, chunk.bins] = getattr(chunk, name)
    return full


@pytest.mark.parametrize("seed", range(2))
def test_statistics_of_a_replicate_are_scikit_learns_on_its_patients(seed: int) -> None:
    state = ScoreState.of(*draw(seed, 50), BINS)
    chunk = next(bootstrap.replicates({"": state}, 8, seed))
    middle = (bin_edges(BINS)[1:] + bin_edges(BINS)[:-1]) / 2
    fpr, recall = np.array([0.0, 0.13, 0.5, 1.0]), np.array([0.1, 0.55, 1.0])
    statistics = (
        *(bootstrap.areas, bootstrap.average_precisions, bootstrap.brier_scores(BINS), bootstrap.at_threshold(30)),
        *(bootstrap.sensitivities(0.8), bootstrap.roc_at(fpr), bootstrap.precision_at(recall)),
    )
    values = [statistic(chunk) for statistic in statistics]
    for row in range(8):
        scores = np.repeat(np.tile(chunk.bins, 2), np.r_[chunk.positives[row], chunk.negatives[row]])
        labels = np.repeat([1, 0], [chunk.positives[row].sum(), chunk.negatives[row].sum()])
        assert values[0][row] == pytest.approx(reference.roc_auc_score(labels, scores))
        assert values[1][row] == pytest.approx(reference.average_precision_score(labels, scores))
        assert values[2][row] == pytest.approx(reference.brier_score_loss(labels, middle[scores]))
        assert values[3][row, 0] == pytest.approx(reference.balanced_accuracy_score(labels, scores >= 30))
        assert values[3][row, 1] == pytest.approx(reference.f1_score(labels, scores >= 30))
        false, true, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
        assert values[4][row] == pytest.approx(true[false <= 0.2 + 1e-9].max())
        assert values[5][row] == pytest.approx([true[false <= rate + 1e-9].max() for rate in fpr])
        precision, reached, _ = reference.precision_recall_curve(labels, scores)
        nearest = [reached[reached >= rate - 1e-9].min() for rate in recall]
        assert values[6][row] == pytest.approx([precision[:-1][reached[:-1] == rate].max() for rate in nearest])


def test_limits_agree_with_a_naive_bootstrap() -> None:
    scores, labels = draw(4, 150)
    state = ScoreState.of(scores, labels, BINS)
    (areas,) = bootstrap.distribution({"": state}, [bootstrap.areas], 4000, 1)
    generator = np.random.default_rng(2)
    naive = []
    for _ in range(1000):
        drawn = generator.integers(0, scores.size, scores.size)
        naive.append(reference.roc_auc_score(labels[drawn], binned(scores)[drawn]))
    low, high = bootstrap.percentiles(areas, 0.95, 10**9)
    assert (low, high) == pytest.approx(tuple(np.quantile(naive, [0.025, 0.975])), abs=0.012)
    wider = bootstrap.percentiles(areas, 0.95, 10)
    assert wider[0] < low and wider[1] > high
    assert areas.std() == pytest.approx(np.std(naive), rel=0.1)


def test_a_resample_of_one_class_has_no_value_and_many_leave_no_interval() -> None:
    state = ScoreState.of([0.1, 0.2, 0.9], [0, 0, 1], BINS)
    chunk = next(bootstrap.replicates({"": state}, 60, 0))
    alone = (chunk.positives.sum(1) == 0) | (chunk.negatives.sum(1) == 0)
    assert alone.any()
    for statistic in (bootstrap.areas, bootstrap.average_precisions, bootstrap.sensitivities(0.9)):
        assert (np.isnan(statistic(chunk)) == alone).all()
    low, high = bootstrap.percentiles(bootstrap.areas(chunk), 0.95, 2)
    assert np.isnan(low) and np.isnan(high)
