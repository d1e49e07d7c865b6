"""Paired differences against the published example, scikit-learn and a naive bootstrap; verdicts at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from common.evaluation.comparison import (
    SAME,
    Difference,
    against_margin,
    average,
    paired_delong,
    paired_difference,
    paired_replicates,
)

ALBUMIN = (
    "3.0 3.2 3.9 2.8 3.2 0.9 2.5 1.6 3.8 3.7 3.2 3.8 4.1 3.6 4.3 3.6 2.3 4.2 4.0 3.5 3.8 3.0 "
    "4.5 3.7 3.1 4.1 4.3 4.3 3.2 2.6 3.3 1.7 3.7 3.3 4.2 3.5 2.9 2.1 2.8 4.0 3.3 3.7 3.6"
)
PROTEIN = (
    "5.8 6.3 6.8 4.8 5.8 4.0 5.7 5.6 5.7 6.7 5.4 6.6 6.6 5.7 7.0 6.7 4.4 7.6 6.6 5.8 6.8 4.7 "
    "7.4 7.4 6.6 8.2 7.0 6.5 5.1 4.7 6.8 4.0 6.1 6.3 7.7 6.2 5.7 4.8 6.2 7.0 5.7 6.9 6.6"
)
KG_SCORE = "10 5 3 6 3 5 8 5 5 6 4 6 5 5 4 4 6 4 6 6 7 8 5 5 6 6 5 4 5 6 6 7 5 7 6 5 9 7 8 7 6 5 5"
NO_BENEFIT = (0, 3, 5, 6, 15, 17, 18, 21, 30, 31, 36, 38)


def test_the_published_example() -> None:
    """DeLong, DeLong and Clarke-Pearson 1988: surgery for bowel obstruction in ovarian cancer; 43 complete records.

    Areas, standard errors and contrasts with the K-G score as SAS prints them for these data (PROC LOGISTIC, example
    "Comparing Receiver Operating Characteristic Curves").
    """
    albumin, protein, kg = (np.array(text.split(), float) for text in (ALBUMIN, PROTEIN, KG_SCORE))
    benefit = ~np.isin(np.arange(43), NO_BENEFIT)
    areas, covariance = paired_delong(np.stack([albumin, -kg, protein]), benefit)
    assert areas.round(4).tolist() == [0.7366, 0.7258, 0.6478]
    assert np.sqrt(np.diag(covariance)).round(4).tolist() == [0.0927, 0.1028, 0.1000]
    for scores, value, error, low, high in (
        (albumin, 0.0108, 0.0953, -0.1761, 0.1976),
        (protein, -0.0780, 0.1046, -0.2830, 0.1271),
    ):
        found = paired_difference(scores, -kg, benefit.astype(int), confidence=0.95, resamples=0, seed=0)
        assert found is not None and found.method == "DeLong" and found.bootstrap is None
        seen = (found.value, found.variance**0.5, found.low, found.high)
        assert tuple(round(figure, 4) for figure in seen) == (value, error, low, high)


patients = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 1)), min_size=4, max_size=60)


@given(patients)
def test_areas_and_covariance_are_those_of_all_pairs(rows) -> None:
    first, second, labels = np.array(rows).T
    assume(2 <= labels.sum() <= labels.size - 2)
    areas, covariance = paired_delong(np.stack([first, second]).astype(float), labels == 1)
    placements = []
    for scores in (first, second):
        x, y = scores[labels == 1][:, None], scores[labels == 0][None, :]
        psi = (x > y) + 0.5 * (x == y)
        placements.append((psi.mean(1), psi.mean(0)))
    assert areas == pytest.approx([roc_auc_score(labels, first), roc_auc_score(labels, second)])
    m, n = labels.sum(), (1 - labels).sum()
    naive = np.cov([p[0] for p in placements]) / m + np.cov([p[1] for p in placements]) / n
    np.testing.assert_allclose(covariance, naive, atol=1e-12)


@given(patients)
def test_turning_the_comparison_round_mirrors_it(rows) -> None:
    first, second, labels = np.array(rows).T
    one, other = (
        paired_difference(a, b, labels, confidence=0.95, resamples=0, seed=0)
        for a, b in ((first, second), (second, first))
    )
    if min(labels.sum(), (1 - labels).sum()) < 2:
        assert one is None and other is None
        return
    assert one is not None and other is not None
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=1e-9)
    assert -1 <= one.low <= one.value <= one.high <= 1 and one.variance >= 0


def sample(patients: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = (np.arange(patients) % 3 == 0).astype(int)
    shared = generator.normal(labels, 1)
    return shared + generator.normal(0, 0.5, patients), shared + generator.normal(0, 1, patients), labels


def test_replicates_are_a_paired_bootstrap() -> None:
    """Against drawing patients one resample at a time; and far narrower than an unpaired one."""
    first, second, labels = (values.round(1) for values in sample(120, 0))
    ours = paired_replicates(first, second, labels == 1, 3000, 0)
    generator = np.random.default_rng(1)
    naive, unpaired = [], []
    for _ in range(400):
        drawn, others = generator.integers(0, 120, (2, 120))
        naive.append(roc_auc_score(labels[drawn], first[drawn]) - roc_auc_score(labels[drawn], second[drawn]))
        unpaired.append(roc_auc_score(labels[drawn], first[drawn]) - roc_auc_score(labels[others], second[others]))
    assert ours.mean() == pytest.approx(np.mean(naive), abs=0.006)
    assert ours.std() == pytest.approx(np.std(naive), rel=0.12)
    assert ours.std() < 0.8 * np.std(unpaired)


def test_delong_and_bootstrap_agree_and_the_seed_repeats() -> None:
    first, second, labels = sample(300, 2)
    one, again = (paired_difference(first, second, labels, confidence=0.95, resamples=2000, seed=5) for _ in range(2))
    assert one is not None and one == again and one.bootstrap is not None
    assert one.bootstrap == pytest.approx((one.low, one.high), abs=0.012)


def test_a_perfect_model_against_a_useless_one_has_an_open_interval() -> None:
    labels = np.repeat([1, 0], 15)
    perfect = labels + np.linspace(0, 0.1, 30)
    found = paired_difference(perfect, 1 - perfect, labels, confidence=0.95, resamples=0, seed=0)
    assert found is not None and found.method == "MOVER" and found.value == 1
    assert found.low < found.value <= found.high and found.variance > 0


def difference(value: float, low: float, high: float, patients: int = 100) -> Difference:
    return Difference(
        value=value, variance=((high - low) / 3.92) ** 2, low=low, high=high, method="DeLong", bootstrap=None,
        patients=patients,
    )  # fmt: skip


def test_the_mean_over_sites_weighs_patients_and_adds_variances() -> None:
    mean = average({"a": difference(0.1, 0.0, 0.2, 300), "b": difference(-0.1, -0.3, 0.1, 100)}, 0.95)
    assert mean is not None and mean.patients == 400 and mean.method == "average of sites"
    assert mean.value == pytest.approx(0.05)
    assert mean.variance == pytest.approx((0.75 * 0.2 / 3.92) ** 2 + (0.25 * 0.4 / 3.92) ** 2)
    assert mean.high - mean.value == pytest.approx(1.96 * mean.variance**0.5, rel=1e-4)
    assert average({}, 0.95) is None


def test_sites_whose_models_all_rank_alike_have_no_interval_together_either() -> None:
    same = Difference(value=0.0, variance=0.0, low=0.0, high=0.0, method="same scores", bootstrap=None, patients=40)
    together = average({"a": same, "b": same}, 0.95)
    assert together is not None and (together.value, together.method) == (0.0, "same scores")
    other = average({"a": same, "b": difference(0.1, 0.0, 0.2, 300)}, 0.95)
    assert other is not None and other.method == "average of sites"


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.01, 0.1, {"superior", "non_inferior"}),
        (-0.04, 0.1, {"non_inferior"}),
        (-0.04, 0.04, {"non_inferior", "equivalent"}),
        (0.01, 0.04, {"superior", "non_inferior", "equivalent"}),
        (-0.06, 0.04, set()),
        (-0.05, 0.05, set()),
    ],
)
def test_what_a_difference_shows_against_a_margin(low: float, high: float, shown: set[str]) -> None:
    row = against_margin(difference((low + high) / 2, low, high), 0.05)
    assert {name for name in ("superior", "non_inferior", "equivalent") if row[name]} == shown
    assert row["bootstrap"] == {"low": None, "high": None}


@given(st.lists(st.integers(0, 6), min_size=6, max_size=40), st.floats(0.1, 5))
def test_the_same_ranking_is_no_difference_and_has_no_interval(ranks: list[int], stretch: float) -> None:
    scores = np.array(ranks, dtype=np.float64)
    labels = np.arange(len(ranks)) % 2
    found = paired_difference(scores, stretch * scores - 1, labels, confidence=0.95, resamples=20, seed=0)
    assert found is not None and found.method == SAME
    assert (found.value, found.variance, found.low, found.high, found.bootstrap) == (0.0, 0.0, 0.0, 0.0, None)
