"""Where patients are few their scores are told in coarser bins, which still add, and metrics stay within a bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from common.config import compose
from common.errors import ConfigError, DataError
from common.evaluation.metrics import auroc
from common.evaluation.scores import ScoreState, bin_edges, coarsened, merged_bins
from common.evaluation.subgroups import grouped_state
from common.evaluation.summary import Measure, summarise

sizes = st.integers(2, 3000)
bins = st.sampled_from([16, 32, 256, 4096, 65_536])


@given(bins, sizes)
def test_there_are_at_most_as_many_bins_as_the_rule_says(count: int, patients: int) -> None:
    merged = merged_bins(count, patients)
    assert merged & (merged - 1) == 0
    assert -(-count // merged) <= max(16, patients // 4)
    assert merged == 1 or -(-count // (merged // 2)) > max(16, patients // 4), "no coarser than the rule"
    assert merged_bins(count, patients + 1) <= merged


@given(bins, sizes, st.integers(0, 2**32))
def test_a_score_stays_in_its_coarse_bin_and_all_of_one_bin_are_told_alike(
    count: int, patients: int, seed: int
) -> None:
    scores = np.random.default_rng(seed).beta(0.4, 0.4, patients)
    told, merged = coarsened(scores, count), merged_bins(count, patients)
    before, after = (np.searchsorted(bin_edges(count)[1:-1], values, side="right") for values in (scores, told))
    assert np.array_equal(before // merged, after // merged)
    assert len(np.unique(after)) == len(np.unique(after // merged)), "a fine bin would tell which part of the coarse"
    assert np.abs(told - scores).max() <= 2 * merged / count


@given(sizes, st.integers(0, 2**32))
def test_an_auroc_moves_by_at_most_half_the_pairs_in_one_bin(patients: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = np.arange(patients) % 2
    scores = generator.beta(2 + labels, 3 - labels)
    state = grouped_state(scores, labels, [{}] * patients, (), bins=4096, min_cell=0)
    together = float(state.positives @ state.negatives) / (state.malignant * state.benign)
    assert abs(auroc(state) - roc_auc_score(labels, scores)) <= together / 2 + 1e-12


def test_states_of_a_small_and_a_large_site_add() -> None:
    generator = np.random.default_rng(0)
    states, everybody = [], []
    for patients in (40, 2000):
        labels = np.arange(patients) % 2
        scores = generator.beta(2 + labels, 3 - labels)
        states.append(grouped_state(scores, labels, [{}] * patients, (), bins=4096, min_cell=0))
        everybody.append((scores, labels))
    pooled = states[0] + states[1]
    assert pooled.patients == 2040 and ScoreState.from_json(pooled.to_json(), 4096) == pooled
    exact = roc_auc_score(*(np.concatenate([part[k] for part in everybody]) for k in (1, 0)))
    assert auroc(pooled) == pytest.approx(exact, abs=0.003)


def test_a_hub_that_chooses_the_number_of_bins_does_not_get_finer_ones() -> None:
    """A number that cannot be halved is refused, in the study and where the scores are told."""
    for count in (16, 4096, 65_536):
        scores = np.random.default_rng(1).random(48)
        state = grouped_state(scores, np.ones(48, int), [{}] * 48, (), bins=count, min_cell=0)
        assert np.count_nonzero(state.positives) <= 16
    with pytest.raises(DataError, match="power of two"):
        coarsened(np.random.default_rng(1).random(48), 4099)
    with pytest.raises(ConfigError, match="power of two"):
        compose(["evaluation.bins=4099"])


@given(st.lists(st.integers(4, 1500), min_size=1, max_size=3), st.integers(0, 2**32))
def test_the_errors_that_a_report_states_are_bounds(patients: list[int], seed: int) -> None:
    """Sites of different sizes, pooled: what is told against the scores themselves."""
    generator = np.random.default_rng(seed)
    strata, scores, labels = {}, [], []
    for site, count in enumerate(patients):
        labels.append(np.arange(count) % 2)
        scores.append(generator.beta(2 + labels[-1], 3 - labels[-1]))
        strata[str(site)] = grouped_state(scores[-1], labels[-1], [{}] * count, (), bins=1024, min_cell=0)
    pooled = sum(list(strata.values())[1:], strata["0"])
    told = summarise(pooled, threshold=0.5, measure=Measure(resamples=0), strata=strata)
    truth, classes = np.concatenate(scores), np.concatenate(labels)
    for name, exact in (
        ("auroc", roc_auc_score(classes, truth)),
        ("auprc", average_precision_score(classes, truth)),
        ("brier", brier_score_loss(classes, truth)),
    ):
        assert abs(told[name]["value"] - exact) <= told[name]["binning_error"] + 1e-9
