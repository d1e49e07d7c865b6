"""No patient's score is told alone: groups told as one, which still add, and figures of order keep their bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from client.site.policy import SitePolicy
from common.evaluation.metrics import auroc
from common.evaluation.scores import ScoreState, bin_edges, coarsened
from common.evaluation.subgroups import grouped_state
from common.evaluation.summary import Measure, summarise

GROUP = SitePolicy().min_group
sizes = st.integers(GROUP, 400)
bins = st.sampled_from([16, 256, 4096, 4099, 65_536])
seeds = st.integers(0, 2**32)


def _scores(patients: int, seed: int) -> np.ndarray:
    """Scores of a confident, a timid or a saturated model, some of them equal."""
    generator = np.random.default_rng(seed)
    spread = generator.choice([0.01, 1.0, 30.0])
    scores = 1 / (1 + np.exp(-spread * generator.normal(size=patients)))
    return np.where(generator.random(patients) < 0.2, scores[0], scores)


@given(bins, sizes, seeds)
def test_every_count_is_of_as_many_patients_as_the_policy_says(count: int, patients: int, seed: int) -> None:
    labels = np.arange(patients) % 2
    state = grouped_state(_scores(patients, seed), labels, [{}] * patients, (), bins=count, min_cell=0, together=GROUP)
    told = state.positives + state.negatives
    assert told[told > 0].min() >= GROUP and told.sum() == patients and state.is_grouped


def test_in_her_class_a_patient_may_be_a_count_of_one() -> None:
    """What docs/metrics.md says: a bin holds enough patients of both classes together, not of each."""
    labels = (np.arange(60) < 12).astype(int)
    state = grouped_state(_scores(60, 0), labels, [{}] * 60, (), bins=4096, min_cell=5, together=GROUP)
    assert state.positives[state.positives > 0].min() == 1
    assert (state.positives + state.negatives)[state.positives > 0].min() >= GROUP


@given(bins, sizes, seeds)
def test_a_group_is_told_among_its_patients_and_in_order(count: int, patients: int, seed: int) -> None:
    scores = _scores(patients, seed)
    told, inner = coarsened(scores, count, GROUP), bin_edges(count)[1:-1]
    assert (np.diff(told[np.argsort(scores, kind="stable")]) >= 0).all()
    places, at = (np.searchsorted(inner, values, side="right") for values in (scores, told))
    for place in np.unique(at):
        assert places[at == place].min() <= place <= places[at == place].max()


@given(st.integers(GROUP, 30), st.integers(4, 10), seeds)
def test_scores_that_lie_apart_are_told_no_finer_than_they_lie(patients: int, power: int, seed: int) -> None:
    """Patients in steps of four cells; where in a cell of 2**power bins each lies is what a hub would read."""
    generator = np.random.default_rng(seed)
    count, cell = 65_536, 2**power
    assume(4 * patients * cell < count)
    cells = 4 * np.arange(patients) + 2
    edges, told = bin_edges(count), []
    for _ in range(2):
        at = cells * cell + generator.integers(0, cell, patients)
        told.append(coarsened((edges[at] + edges[at + 1]) / 2, count, GROUP))
    assert (told[0] == told[1]).all(), "what a hub is told hangs on the cells alone"


@given(sizes, seeds, st.floats(0, 1))
def test_one_patient_who_stands_apart_does_not_show(patients: int, seed: int, apart: float) -> None:
    """A hub's weights put all patients at one score but her; where she is put cannot be read off."""
    generator = np.random.default_rng(seed)
    scores = np.full(patients, 0.3) + generator.uniform(0, 1e-9, patients)
    scores[int(generator.integers(patients))] = apart
    told = coarsened(scores, 4096, GROUP)
    assert len(np.unique(np.searchsorted(bin_edges(4096)[1:-1], told, side="right"))) == 1


@given(sizes, seeds)
def test_an_auroc_moves_by_at_most_half_the_pairs_that_are_told_alike(patients: int, seed: int) -> None:
    labels, scores = np.arange(patients) % 2, _scores(patients, seed)
    state = grouped_state(scores, labels, [{}] * patients, (), bins=4096, min_cell=0, together=GROUP)
    together = float(state.positives @ state.negatives) / (state.malignant * state.benign)
    assert abs(auroc(state) - roc_auc_score(labels, scores)) <= together / 2 + 1e-12


def test_the_order_of_a_timid_model_survives() -> None:
    """All scores between 0.49 and 0.51: bins fixed beforehand would hold them in one."""
    generator = np.random.default_rng(0)
    labels = np.arange(200) % 2
    scores = 0.5 + 0.001 * generator.normal(labels, 1.0)
    state = grouped_state(scores, labels, [{}] * 200, (), bins=4096, min_cell=0, together=GROUP)
    assert auroc(state) == pytest.approx(roc_auc_score(labels, scores), abs=0.02)


def test_states_of_a_small_and_a_large_site_add() -> None:
    generator = np.random.default_rng(0)
    states, everybody = [], []
    for patients in (40, 2000):
        labels = np.arange(patients) % 2
        scores = generator.beta(2 + labels, 3 - labels)
        states.append(grouped_state(scores, labels, [{}] * patients, (), bins=4096, min_cell=0, together=GROUP))
        everybody.append((scores, labels))
    pooled = states[0] + states[1]
    assert pooled.patients == 2040 and ScoreState.from_json(pooled.to_json(), 4096) == pooled
    exact = roc_auc_score(*(np.concatenate([part[k] for part in everybody]) for k in (1, 0)))
    assert auroc(pooled) == pytest.approx(exact, abs=0.003)


@given(st.lists(st.integers(2 * GROUP, 600), min_size=1, max_size=3), seeds)
def test_the_errors_that_a_report_states_are_bounds_and_where_there_is_none_it_states_none(
    patients: list[int], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    strata, scores, labels = {}, [], []
    for site, count in enumerate(patients):
        labels.append(np.arange(count) % 2)
        scores.append(generator.beta(2 + labels[-1], 3 - labels[-1]))
        strata[str(site)] = grouped_state(
            scores[-1], labels[-1], [{}] * count, (), bins=1024, min_cell=0, together=GROUP
        )
    pooled = sum(list(strata.values())[1:], strata["0"])
    told = summarise(pooled, threshold=0.5, measure=Measure(resamples=0), strata=strata)
    truth, classes = np.concatenate(scores), np.concatenate(labels)
    for name, exact in (
        ("auroc", roc_auc_score(classes, truth)),
        ("auprc", average_precision_score(classes, truth)),
    ):
        if len(patients) > 1:
            assert told[name]["binning_error"] is None
        else:
            assert abs(told[name]["value"] - exact) <= told[name]["binning_error"] + 1e-9
    assert told["brier"]["binning_error"] is None
    assert told["brier"]["value"] == pytest.approx(brier_score_loss(classes, truth), abs=0.15)
