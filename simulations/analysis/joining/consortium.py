"""One emulated consortium on rows of public features: what its hospitals have alone, together and with both."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from common.config.study import StudyConfig
from common.data.loading import PatientTensors
from common.models.classifier import Classifier
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.privacy.shares import GRID, noise_share
from common.privacy.statistics import UNIT
from common.training.home_model import HeldOut, home_model, with_federation
from common.training.recipes import network_scorer, some_patients
from common.training.statistics import round_sum
from common.training.summed_rounds import summed_updates
from simulations.analysis.joining.embedding import Embedded

LOOKED_AT = 4
"""Hospitals of a consortium whose own models are made."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """AUROC of one hospital's models on patients of the same data that no hospital of the consortium has."""

    public: float
    home: float
    federated: float
    both: float


@dataclasses.dataclass(frozen=True, eq=False)
class Division:
    """Patients dealt out: equal hospitals, and others for the test.

    Attributes:
        hospitals: The patients of each.
        test: Everybody else.
    """

    hospitals: Sequence[PatientTensors]
    test: PatientTensors


def divide(patients: Embedded, sites: int, size: int, least_test: int, seed: int) -> Division:
    """Returns a random division into ``sites`` hospitals of ``size`` patients, two of each class at least.

    Raises:
        ValueError: Fewer than ``least_test`` patients would be left.
    """
    count = patients.data.num_patients
    if count - sites * size < least_test:
        raise ValueError(f"{sites} hospitals of {size} leave fewer than {least_test} of {count} patients for the test")
    drawn = np.random.default_rng([seed, sites, size])
    labels = patients.data.patient_labels().numpy()
    while True:
        order = drawn.permutation(count)
        parts = order[: sites * size].reshape(sites, size)
        if (np.minimum((labels[parts] == 1).sum(1), (labels[parts] == 0).sum(1)) >= 2).all():
            break
    hospitals = [some_patients(patients.data, part) for part in parts]
    return Division(hospitals, some_patients(patients.data, order[sites * size :]))


def homes(patients: Embedded, division: Division, study: StudyConfig, seed: int) -> list[HeldOut]:
    """Returns the home models of the first :data:`LOOKED_AT` hospitals; no network is tuned, which takes hours here."""
    recipes, folds = patients.recipes(study), study.evaluation.home_folds
    return [
        home_model(recipes, data, folds=folds, seeds=1, fresh=partial(Randomness.from_seed, seed, f"home-{index}"))
        for index, data in enumerate(division.hospitals[:LOOKED_AT])
    ]


def gains(
    patients: Embedded, division: Division, study: StudyConfig, made: Sequence[HeldOut], seed: int
) -> Iterator[Gain]:
    """Yields what each hospital with a home model has of the study."""
    model = federated(patients, division, study, seed)
    score = network_scorer(model)
    labels = division.test.patient_labels().numpy()
    together = float(roc_auc_score(labels, score(division.test)))
    public = float(roc_auc_score(labels, patients.public_logits(division.test)))
    for home, data in zip(made, division.hospitals, strict=False):
        everybody = np.ones(data.num_patients, dtype=bool)
        both = with_federation(home, score, None, data, everybody)
        alone, joined = (float(roc_auc_score(labels, one.score(division.test))) for one in (home, both))
        yield Gain(public=public, home=alone, federated=together, both=joined)


def federated(patients: Embedded, division: Division, study: StudyConfig, seed: int) -> Classifier:
    """Returns the model after all rounds, by the releases, the noise and the rule of the product."""
    model = patients.model(study)
    randomness = [Randomness.from_seed(seed, f"site-{index}") for index in range(len(division.hospitals))]
    for round_index in range(1, study.training.rounds + 1):
        total = sum(
            _release(model, data, study, round_index, len(randomness), own)
            for data, own in zip(division.hospitals, randomness, strict=True)
        )
        assert isinstance(total, Tensor)
        _put(model, total / len(randomness), study, round_index)
    return model


def _release(
    model: Classifier, data: PatientTensors, study: StudyConfig, round_index: int, sites: int, randomness: Randomness
) -> Tensor:
    """Returns a site's noisy sum in steps of the grid, int64, over :data:`common.privacy.statistics.UNIT`."""
    clean, own = round_sum(model, data, study, round_index), data.num_patients
    if study.privacy.distributed:
        share = noise_share(study, [own] * sites, own, study.privacy.colluders, round_index)
        return torch.from_numpy(share.noisy(clean.numpy(), randomness.noise))
    plan = PrivacyPlan.for_site(study.privacy, study.training, own)
    released = torch.from_numpy(plan.noised_sum(round_index, clean, randomness.noise))
    return (released.double() / (UNIT * GRID)).round().long()


def _put(model: Classifier, mean: Tensor, study: StudyConfig, round_index: int) -> None:
    trained = {name: value.numpy() for name, value in model.state_dict().items() if name.startswith("head.")}
    added = summed_updates(mean.round().long().numpy(), trained, study, round_index)
    for name, parameter in model.named_parameters():
        if name in added:
            parameter.add_(torch.from_numpy(added[name] * GRID).float())
