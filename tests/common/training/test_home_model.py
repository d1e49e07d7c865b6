"""The best model of one hospital alone, and with the federated one: chosen on patients that no fit has seen."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from common.config.study import ModelConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.models.zoo import build_model
from common.privacy.randomness import Randomness
from common.training.home_model import HeldOut, concordance, fold_of, home_model, with_federation
from common.training.recipes import FineTuning, Ridge, Scorer, joined, some_patients


def patients(count: int, seed: int, signal: float = 1.5) -> PatientTensors:
    """Tables whose first feature follows the label, two rows for every third patient."""
    generator = torch.Generator().manual_seed(seed)
    of_row = torch.tensor([p for p in range(count) for _ in range(2 if p % 3 == 0 else 1)])
    labels = (of_row % 2).float()
    inputs = torch.randn(len(of_row), 5, generator=generator)
    inputs[:, 0] += signal * labels
    return PatientTensors(inputs, labels, of_row, tuple(f"{seed}-{p}" for p in range(count)))


def randomness(index: int) -> Randomness:
    return Randomness.from_seed(0, "home", index)


def everybody(data: PatientTensors) -> NDArray[np.bool_]:
    return np.ones(data.num_patients, dtype=bool)


class Memory:
    """Knows the label of everybody it was fitted on, and nothing of others; ``asked`` keeps who was scored."""

    def __init__(self) -> None:
        self.asked: list[tuple[set[str], set[str]]] = []

    def fit(self, data: PatientTensors, drawn: Randomness) -> Mapping[str, Scorer]:
        known = dict(zip(data.patients, data.patient_labels().tolist(), strict=True))

        def score(other: PatientTensors) -> NDArray[np.float64]:
            self.asked.append((set(known), set(other.patients)))
            return np.array([known.get(name, 0.5) for name in other.patients])

        return {"memory": score}


def test_nobody_is_scored_by_a_model_that_saw_her() -> None:
    memory, data = Memory(), patients(30, 1)
    found = home_model([memory], data, folds=4, seeds=1, fresh=randomness)
    assert all(not seen & scored for seen, scored in memory.asked)
    assert set().union(*(scored for _, scored in memory.asked)) == set(data.patients)
    assert found.merit_of(everybody(data)) == 0.5


def test_what_ranks_new_patients_is_preferred_to_what_knows_old_ones_by_heart() -> None:
    data = patients(60, 1)
    ridge = Ridge(build_model(ModelConfig(name="linear"), (5,), 0))
    assert home_model([Memory(), ridge], data, folds=3, seeds=1, fresh=randomness).name.startswith("ridge")


@pytest.mark.parametrize("kind", ["ridge", "tuned"])
def test_either_recipe_learns(kind: str) -> None:
    network = build_model(ModelConfig(name="linear"), (5,), 0)
    training = TrainingConfig(optimizer="adam", lr=0.05, local_epochs=16.0, batch_patients=16)
    recipe = Ridge(network) if kind == "ridge" else FineTuning("tuned", network, training)
    found = home_model([recipe], patients(80, 1), folds=3, seeds=2, fresh=randomness)
    other = patients(200, 2)
    assert roc_auc_score(other.patient_labels(), found.score(other)) > 0.8
    assert found.name.startswith(kind)


def test_tuning_leaves_the_start_as_it_was_and_shows_each_look() -> None:
    network, data = build_model(ModelConfig(name="linear"), (5,), 0), patients(40, 1)
    before = [parameter.clone() for parameter in network.parameters()]
    training = TrainingConfig(optimizer="adam", lr=0.05, local_epochs=3.0, batch_patients=16)
    looks = FineTuning("tuned", network, training).fit(data, randomness(0))
    assert list(looks) == ["tuned 1/3", "tuned 2/3", "tuned 3/3"]
    scores = [look(data) for look in looks.values()]
    assert all(not np.array_equal(one, other) for one, other in itertools.pairwise(scores))
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def model(logits: NDArray[np.float64], labels: NDArray[np.float64]) -> HeldOut:
    return HeldOut("home", lambda data: logits, logits, labels, np.zeros(len(labels), dtype=np.int64))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), quality=st.floats(-2, 4))
def test_with_the_federation_is_never_worse_than_home_on_the_patients_it_is_chosen_on(
    seed: int, quality: float
) -> None:
    generator, data = np.random.default_rng(seed), patients(24, 1)
    labels = data.patient_labels().numpy().astype(np.float64)
    home = model(generator.normal(size=24) + labels, labels)
    theirs = generator.normal(size=24) + quality * labels
    both = with_federation(home, lambda other: theirs, None, data, everybody(data))
    assert both.merit_of(everybody(data)) >= max(
        home.merit_of(everybody(data)), concordance(theirs, labels, home.folds)
    )


def test_a_federated_model_that_knows_nothing_leaves_the_home_model_alone() -> None:
    data = patients(40, 1)
    labels = data.patient_labels().numpy().astype(np.float64)
    home, none = model(labels + np.linspace(0, 0.5, 40), labels), np.zeros(40)
    both = with_federation(home, lambda other: none, None, data, everybody(data))
    assert both.name.startswith("0% ") and both.merit_of(everybody(data)) == 1.0


def test_only_patients_that_count_choose() -> None:
    """A federated model that knows its training patients by heart is judged on the others."""
    data = joined(patients(40, 1), patients(20, 2))
    labels = data.patient_labels().numpy().astype(np.float64)
    validation = np.arange(60) >= 40
    by_heart = np.where(validation, -labels, labels)
    home = model(labels + np.linspace(0, 2, 60), labels)
    assert with_federation(home, lambda other: by_heart, None, data, validation).name.startswith("0% ")
    assert not with_federation(home, lambda other: by_heart, None, data, ~validation).name.startswith("0% ")


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(st.booleans(), min_size=2, max_size=40), folds=st.integers(2, 6))
def test_each_part_has_both_classes_as_long_as_there_are_enough(labels: list[bool], folds: int) -> None:
    of = np.array(labels, dtype=np.float64)
    found, parts = fold_of(of, folds), min(folds, sum(labels), len(labels) - sum(labels))
    assert len(np.unique(found)) == max(1, parts if parts >= 2 else 1)
    for fold in np.unique(found):
        assert parts < 2 or set(of[found == fold]) == {0.0, 1.0}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_concordance_is_the_auroc_of_one_fold(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels, logits = np.array([0.0, 1.0] * 10), generator.integers(0, 5, size=20).astype(np.float64)
    assert concordance(logits, labels, np.zeros(20, dtype=np.int64)) == pytest.approx(roc_auc_score(labels, logits))


def test_probabilities_are_calibrated_on_held_out_scores() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=4000)
    labels = (generator.random(4000) < 1 / (1 + np.exp(-(2 * logits - 1)))).astype(np.float64)
    found = model(logits, labels)
    assert found.probability(np.array([0.5, 2.0])) == pytest.approx([0.5, 1 / (1 + np.exp(-3))], abs=0.03)


def test_patients_are_picked_and_joined_with_all_their_rows() -> None:
    first, second = patients(9, 1), patients(4, 2)
    both = joined(first, second)
    back = some_patients(both, np.arange(9, 13))
    assert back.patients == second.patients and torch.equal(back.inputs, second.inputs)
    assert torch.equal(back.patient_labels(), second.patient_labels())
