"""A site's own models: trained without noise, judged on the same test patients, and nothing but figures left."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from client.site.own_models import own_models
from common.config.study import StudyConfig, compose
from common.data.loading import PatientTensors
from common.evaluation.answers import OwnModels
from common.models.zoo import Classifier, build_model
from common.privacy.randomness import Randomness
from common.training.loop import predict
from tests.common.training.test_home_model import patients

FAST = [
    *("evaluation.local_epochs=80", "evaluation.personal_epochs=80", "evaluation.local_lr=0.05"),
    *("evaluation.personal_lr=0.05", "evaluation.resamples=50", "evaluation.bins=256"),
]


SPLITS = {"train": patients(80, 1), "val": patients(30, 2), "test": patients(60, 3)}


def answer(overrides: tuple[str, ...] = (), splits: dict[str, PatientTensors] = SPLITS) -> tuple[OwnModels, Classifier]:
    study = compose(["data=wdbc", "model=linear", "privacy=none", *FAST, *overrides])
    federated, fresh = models(study)
    return own_models("site", federated, fresh, splits.__getitem__, study, randomness), federated


def randomness(purpose: str, index: int) -> Randomness:
    return Randomness.from_seed(0, purpose, index)


def models(study: StudyConfig) -> tuple[Classifier, Classifier]:
    federated, fresh = (build_model(study.model, (5,), seed) for seed in (7, study.seed))
    return federated, fresh


def test_both_models_learn_and_are_compared_on_the_same_patients() -> None:
    found, _ = answer()
    assert set(found.models) == {"local", "personalised"}
    assert all(own.scores.patients == 60 and not own.scores.groups for own in found.models.values())
    better, worse = (found.differences[pair] for pair in ("personalised_minus_federated", "federated_minus_local"))
    apart = found.differences["personalised_minus_local"]
    assert better is not None and worse is not None and apart is not None
    assert worse.value < 0, "an untrained federated model is worse"
    assert apart.value == pytest.approx(better.value + worse.value)


def test_the_federated_model_is_left_as_it_came() -> None:
    untrained, _ = models(compose(["data=wdbc", "model=linear", "privacy=none"]))
    assert torch.equal(predict(untrained, SPLITS["test"]), predict(answer()[1], SPLITS["test"]))


def test_a_public_checkpoint_is_compared_as_it_came() -> None:
    study = compose(["data=wdbc", "model=linear", "privacy=none", *FAST])
    study = dataclasses.replace(study, model=dataclasses.replace(study.model, checkpoint="a" * 64))
    federated, fresh = models(study)
    found = own_models("site", federated, fresh, SPLITS.__getitem__, study, randomness)
    assert set(found.models) == {"local", "personalised", "public"}
    assert found.differences["federated_minus_public"] is not None


def test_what_leaves_has_no_patient_and_no_weight() -> None:
    found, _ = answer()
    document = found.to_json()
    assert OwnModels.from_json(json.loads(json.dumps(document)), 256) == found
    text = json.dumps(document)
    assert "p1" not in text and "head" not in text and "weight" not in text


def test_thresholds_come_from_patients_held_out_not_from_test() -> None:
    shifted = {**SPLITS, "test": patients(60, 4, signal=-3.0)}
    assert answer()[0].models["local"].point == answer(splits=shifted)[0].models["local"].point


def test_a_threshold_does_not_count_the_training_patients_that_chose_it() -> None:
    for own in answer()[0].models.values():
        assert own.point.how == "Youden on validation"
        assert own.point.patients == 0 and own.point.youden is None


def test_no_training_patient_s_score_bounds_a_threshold_alone() -> None:
    """Scores of neighbours are told as one there too: one group of all patients separates nobody."""
    study = compose(["data=wdbc", "model=linear", "privacy=none", *FAST])
    found = own_models("site", *models(study), SPLITS.__getitem__, study, randomness, together=1000)
    assert {own.point.how for own in found.models.values()} == {"fallback: validation cannot choose"}


def test_no_personalised_model_when_the_study_wants_none() -> None:
    found, _ = answer(("evaluation.personal_epochs=0",))
    assert set(found.models) == {"local"} and set(found.differences) == {"federated_minus_local"}


def test_one_class_in_the_test_leaves_no_difference_but_an_answer() -> None:
    test = SPLITS["test"]
    rows = test.labels == 0
    _, of_row = np.unique(test.patient_of[rows].numpy(), return_inverse=True)
    one = PatientTensors(
        test.inputs[rows], test.labels[rows], torch.from_numpy(of_row), tuple(f"p{n}" for n in range(30))
    )
    found, _ = answer(splits={**SPLITS, "test": one})
    assert found.models["local"].scores.malignant == 0
    assert found.differences["federated_minus_local"] is None
