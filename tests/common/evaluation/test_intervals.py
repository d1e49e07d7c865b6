"""Intervals against published figures, independent solvers and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from common.errors import ConfigError
from common.evaluation.intervals import logit_limits, newcombe_auroc, wilson, z_of
from common.evaluation.metrics import auroc_interval, delong
from common.evaluation.scores import ScoreState


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_limits(successes: int, total: int, low: float, high: float) -> None:
    """Newcombe, Stat Med 17:857 (1998), table I, method 3."""
    interval = wilson(successes, total)
    assert interval is not None
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_holds_its_estimate_and_mirrors(counts: tuple[int, int], confidence: float) -> None:
    successes, total = counts
    interval, mirror = wilson(successes, total, confidence), wilson(total - successes, total, confidence)
    assert interval is not None and mirror is not None
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low == pytest.approx(1 - mirror.high, abs=1e-12)


def test_nobody_has_no_rate() -> None:
    assert wilson(0, 0) is None


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_newcombe_limits_solve_method_5(m: int, n: int, area: float) -> None:
    """Against a root finder on the published equation."""

    def distance(theta: float) -> float:
        half = (m + n) / 2 - 1
        factor = 1 + half * (1 - theta) / (2 - theta) + half * theta / (1 + theta)
        return abs(theta - area) - norm.ppf(0.975) * np.sqrt(max(theta * (1 - theta) * factor / (m * n), 0))

    interval = newcombe_auroc(area, m, n)
    assert 0 <= interval.low <= area <= interval.high <= 1
    if 0.01 < area < 0.99:
        assert interval.low == pytest.approx(brentq(distance, 0, area), abs=1e-9)
        assert interval.high == pytest.approx(brentq(distance, area, 1), abs=1e-9)


def test_a_perfect_area_keeps_an_open_lower_side() -> None:
    interval = newcombe_auroc(1.0, 20, 20)
    assert interval.high == 1 and 0.8 < interval.low < 0.95


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0])
def test_refuses_a_confidence_out_of_range(confidence: float) -> None:
    with pytest.raises(ConfigError, match="confidence"):
        z_of(confidence)


def binormal_histograms(draws: int, m: int, n: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns histograms (draws, m + n) of binormal scores, a bin for each rank: no ties."""
    rng = np.random.default_rng(7)
    scores = np.concatenate([rng.normal(shift, 1, (draws, m)), rng.normal(0, 1, (draws, n))], axis=1)
    positives = (np.argsort(scores, axis=1) < m).astype(np.int64)
    return positives, 1 - positives


@pytest.mark.parametrize("truth", [0.7, 0.8, 0.9])
def test_delong_interval_covers_the_truth(truth: float) -> None:
    """1,000 draws of 60 malignant and 40 benign patients; 95% nominal, Monte Carlo error 0.7%."""
    positives, negatives = binormal_histograms(1000, 60, 40, np.sqrt(2) * norm.ppf(truth))
    low, high = logit_limits(*delong(positives, negatives), 0.95)
    covered = np.mean((low <= truth) & (truth <= high))
    assert 0.93 <= covered <= 0.975


@pytest.mark.parametrize(("m", "n", "truth"), [(4, 6, 0.8), (6, 12, 0.9), (3, 20, 0.75), (8, 8, 0.95)])
def test_the_fallback_covers_the_truth_with_few_patients(m: int, n: int, truth: float) -> None:
    positives, negatives = binormal_histograms(1000, m, n, np.sqrt(2) * norm.ppf(truth))
    areas, _ = delong(positives, negatives)
    limits = {float(a): newcombe_auroc(float(a), m, n) for a in np.unique(areas)}
    covered = np.mean([limits[float(a)].low <= truth <= limits[float(a)].high for a in areas])
    assert covered >= 0.93


@pytest.mark.parametrize(("m", "n", "truth"), [(10, 10, 0.8), (10, 30, 0.9)])
def test_the_chosen_method_covers_the_truth_at_the_fewest_patients_for_delong(m: int, n: int, truth: float) -> None:
    draws = zip(*binormal_histograms(1000, m, n, np.sqrt(2) * norm.ppf(truth)), strict=True)
    intervals = [auroc_interval(ScoreState(positives, negatives)) for positives, negatives in draws]
    covered = np.mean([interval is not None and interval.low <= truth <= interval.high for interval in intervals])
    assert 0.93 <= covered <= 0.975


@pytest.mark.parametrize(
    ("scores", "labels", "method"),
    [
        (np.r_[np.full(20, 0.9), np.full(20, 0.1)], np.r_[np.ones(20, int), np.zeros(20, int)], "Newcombe"),
        (np.linspace(0, 1, 12), np.arange(12) % 2, "Newcombe"),
        (np.full(40, 0.5), np.arange(40) % 2, "Newcombe"),
        (np.linspace(0, 1, 60), np.arange(60) % 2, "DeLong"),
    ],
)
def test_the_method_is_named(scores, labels, method: str) -> None:
    interval = auroc_interval(ScoreState.of(scores, labels))
    assert interval is not None
    assert interval.method == method
    assert 0 <= interval.low < interval.value <= interval.high <= 1
