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
from common.evaluation.comparison import paired_difference
from common.models.zoo import build_model
from common.privacy.randomness import Randomness
from common.training.home_model import HeldOut, concordance, fold_of, home_model, standard_error, with_federation
from common.training.recipes import AsItCame, FineTuning, Ridge, Scorer, joined, network_scorer, some_patients


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

    def prepared(self, data: PatientTensors) -> PatientTensors:
        return data

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


@pytest.mark.parametrize("start", ["good", "useless"])
def test_a_start_that_ranks_better_than_few_patients_can_teach_is_used_as_it_came(start: str) -> None:
    network, few = build_model(ModelConfig(name="linear"), (5,), 0), patients(12, 1)
    with torch.no_grad():
        network.head.weight.copy_(torch.tensor([[1.0, 0, 0, 0, 0]]) if start == "good" else torch.zeros(1, 5))
    noise = Ridge(build_model(ModelConfig(name="linear"), (5,), 0)) if start == "useless" else Memory()
    recipes = [noise, AsItCame("as it came", network_scorer(network))]
    found = home_model(recipes, few, folds=3, seeds=2, fresh=randomness)
    other = patients(50, 2)
    assert (found.name == "as it came") == (start == "good")
    if start == "good":
        np.testing.assert_allclose(found.score(other), network_scorer(network)(other))
        np.testing.assert_allclose(found.logits, network_scorer(network)(few))


def test_features_of_an_image_are_computed_once_whatever_the_folds() -> None:
    network, seen = build_model(ModelConfig(name="linear"), (5,), 0), list[int]()
    network.trunk.register_forward_hook(lambda module, arguments, output: seen.append(len(output)))
    network.trunk.requires_grad_(False)
    data = patients(40, 1)
    home_model([Ridge(network)], data, folds=4, seeds=2, fresh=randomness)
    assert sum(seen) == len(data.inputs)


def test_a_row_that_is_no_number_spoils_no_model() -> None:
    data = patients(60, 1)
    broken = data.inputs.clone()
    broken[3] = float("nan")
    data = PatientTensors(broken, data.labels, data.patient_of, data.patients)
    found = home_model([Ridge(build_model(ModelConfig(name="linear"), (5,), 0))], data, folds=3, seeds=1,
                       fresh=randomness)  # fmt: skip
    assert np.isfinite(found.logits).all() and found.merit_of(everybody(data)) > 0.7


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
def test_the_share_follows_what_patients_say_of_the_federated_model(seed: int, quality: float) -> None:
    generator, data = np.random.default_rng(seed), patients(24, 1)
    labels = data.patient_labels().numpy().astype(np.float64)
    home = model(generator.normal(size=24) + labels, labels)
    theirs = generator.normal(size=24) + quality * labels
    both = with_federation(home, lambda other: theirs, None, data, everybody(data))
    lead = roc_auc_score(labels, theirs) - roc_auc_score(labels, home.logits)
    errors = lead / standard_error(model(theirs, labels), home, everybody(data))
    share = min(0.5, max(0.0, 0.25 + 0.5 * errors))
    assert (both is home) == (share == 0)
    if share:
        summed = (1 - share) * home.logits / home.logits.std() + share * theirs / theirs.std()
        np.testing.assert_allclose(both.logits, summed)


def test_two_models_that_err_apart_are_better_together() -> None:
    """What a hospital gains by joining: on patients of the test, over many hospitals."""
    gains = []
    for seed in range(40):
        generator, data = np.random.default_rng(seed), patients(30, 1)
        labels = data.patient_labels().numpy().astype(np.float64)
        home = model(generator.normal(size=30) + labels, labels)
        theirs = generator.normal(size=30) + labels
        both = with_federation(home, lambda other: theirs, None, data, everybody(data))  # noqa: B023
        new = np.array([0.0, 1.0] * 1000)
        alone, federated = (generator.normal(size=2000) + new for _ in range(2))
        share = 0.0 if both is home else float(both.name.partition("%")[0]) / 100
        summed = (1 - share) * alone / home.logits.std() + share * federated / theirs.std()
        gains.append(roc_auc_score(new, summed) - roc_auc_score(new, alone))
    assert np.mean(gains) > 0.03


def test_a_federated_model_that_knows_nothing_leaves_the_home_model_alone() -> None:
    data = patients(40, 1)
    labels = data.patient_labels().numpy().astype(np.float64)
    home, none = model(labels + np.linspace(0, 0.5, 40), labels), np.zeros(40)
    both = with_federation(home, lambda other: none, None, data, everybody(data))
    assert both is home


def test_a_lead_that_two_patients_show_is_none() -> None:
    """One of each class is held out with the federated model: their order is a coin."""
    data = patients(40, 1)
    labels = data.patient_labels().numpy().astype(np.float64)
    home, two = model(-labels, labels), np.arange(40) >= 38
    assert with_federation(home, lambda other: labels, None, data, two) is home
    assert with_federation(home, lambda other: labels, None, data, everybody(data)) is not home


def test_only_patients_that_count_choose() -> None:
    """A federated model that knows its training patients by heart is judged on the others."""
    data = joined(patients(40, 1), patients(20, 2))
    labels = data.patient_labels().numpy().astype(np.float64)
    validation = np.arange(60) >= 40
    by_heart = np.where(validation, -labels, labels)
    home = model(labels + np.linspace(0, 2, 60), labels)
    assert with_federation(home, lambda other: by_heart, None, data, validation) is home
    assert with_federation(home, lambda other: by_heart, None, data, ~validation) is not home


def test_what_is_chosen_is_calibrated_on_patients_that_count() -> None:
    """Scores of patients known by heart are too sure; a threshold from them would be none."""
    generator = np.random.default_rng(0)
    data = joined(patients(200, 1), patients(2000, 2))
    labels = data.patient_labels().numpy().astype(np.float64)
    validation = np.arange(2200) >= 200
    theirs = np.where(validation, labels + generator.normal(size=2200), 20 * (labels - 0.5))
    chosen = with_federation(model(generator.normal(size=2200), labels), lambda other: theirs, None, data, validation)
    assert len(chosen.logits) == len(chosen.labels) == 2000
    assert chosen.probability(chosen.logits).mean() == pytest.approx(0.5, abs=0.01)
    sure = chosen.probability(chosen.logits) > 0.6
    assert chosen.labels[sure].mean() == pytest.approx(chosen.probability(chosen.logits)[sure].mean(), abs=0.05)


def test_the_standard_error_is_delong_s() -> None:
    generator, labels = np.random.default_rng(0), np.array([0.0, 0.0, 1.0] * 20)
    first, second = (generator.normal(size=60) + labels for _ in range(2))
    known = paired_difference(first, second, labels.astype(np.int64), confidence=0.95, resamples=0, seed=0)
    found = standard_error(model(first, labels), model(second, labels), np.ones(60, dtype=bool))
    assert known is not None and found == pytest.approx(known.variance**0.5, rel=1e-9)


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
