"""The pair-weighted AUROC within sites: a mean of pairs, blind to a site's scale, with limits that cover."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.evaluation.metrics import auroc, auroc_interval
from common.evaluation.scores import ScoreState
from common.evaluation.summary import summarise
from common.evaluation.within_sites import pairs, within_sites, without_mixed

BINS = 64
SITE = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=25)


def state(patients: list[tuple[float, int]]) -> ScoreState:
    scores, labels = zip(*patients, strict=True)
    return ScoreState.of(scores, labels, BINS)


@given(st.dictionaries(st.sampled_from("abcd"), SITE, min_size=1))
def test_it_is_the_share_of_pairs_of_one_site_that_are_ranked_rightly(
    sites: dict[str, list[tuple[float, int]]],
) -> None:
    states = {site: state(patients) for site, patients in sites.items()}
    right, count = 0.0, 0
    for one in states.values():
        malignant, benign = np.repeat(np.arange(BINS), one.positives), np.repeat(np.arange(BINS), one.negatives)
        right += sum(0.5 * (m == b) + (m > b) for m, b in product(malignant.tolist(), benign.tolist()))
        count += len(malignant) * len(benign)
    found = within_sites(states, 0.95)
    assert found["pairs"] == count == sum(map(pairs, states.values()))
    if count == 0:
        assert found["value"] is found["low"] is found["high"] is None
    else:
        assert found["value"] == pytest.approx(right / count)
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1


@given(SITE)
def test_one_site_alone_has_its_own_area_and_interval(patients: list[tuple[float, int]]) -> None:
    one = state(patients)
    found, own = within_sites({"a": one}, 0.9), auroc_interval(one, 0.9)
    if own is not None:
        assert [found[key] for key in ("value", "low", "high")] == pytest.approx([own.value, own.low, own.high])


def test_scales_that_differ_between_sites_do_not_count() -> None:
    """The fault: a pool of two perfect models, one of which scores all patients lower, has an area well below 1."""
    low, high = [(0.1, 0), (0.2, 1)] * 20, [(0.7, 0), (0.8, 1)] * 20
    states = {"a": state(low), "b": state(high)}
    mixed = auroc(states["a"] + states["b"])
    assert mixed is not None and mixed < 0.8
    assert within_sites(states, 0.95)["value"] == 1.0


def test_the_interval_covers_as_often_as_it_says() -> None:
    generator, truth = np.random.default_rng(0), 0.80
    shift = 1.1902  # of two unit normals
    inside = 0
    for _ in range(600):
        states = {}
        for site, count in (("a", 30), ("b", 60), ("c", 120)):
            labels = (np.arange(count) % 3 == 0).astype(int)
            logits = generator.normal(labels * shift, 1.0) - generator.normal()
            states[site] = ScoreState.of(1 / (1 + np.exp(-logits)), labels)
        found = within_sites(states, 0.95)
        inside += found["low"] <= truth <= found["high"]
    assert 0.93 <= inside / 600 <= 0.98


def test_a_mixed_summary_keeps_counts_rates_and_means_only() -> None:
    whole = summarise(state([(0.1, 0), (0.4, 1), (0.3, 0), (0.9, 1)]), threshold=0.5, bands=True)
    left = without_mixed(whole)
    assert left.keys() == whole.keys()
    assert left["auroc"]["value"] is None and left["auroc"]["bootstrap"] == {"low": None, "high": None}
    assert left["roc"] == {"fpr": [], "tpr": [], "threshold": []} and left["calibration"]["slope"]["value"] is None
    for name in ("patients", "sensitivity", "confusion", "brier", "net_benefit", "balanced_accuracy"):
        assert left[name] == whole[name]
