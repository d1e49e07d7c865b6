"""Ways to make a model of one hospital's patients at home: without noise, so nothing of it may leave but few figures.

Each recipe returns several models of one fit (strengths of a penalty, looks at a training); which one is used is
chosen by cross-validation (:mod:`common.training.home_model`).
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from common.config.study import TrainingConfig
from common.data.loading import PatientTensors
from common.models.classifier import Classifier
from common.privacy.randomness import Randomness
from common.training.loop import embedded, predict, train

Logits = NDArray[np.float64]
"""(P,), finite: one a patient."""
Scorer = Callable[[PatientTensors], Logits]
MOST_LOOKS = 8
"""How often a training is looked at, at most; each look is a model that can be chosen."""
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse strengths of the ridge penalty, in units of the features' mean square."""
_LEAST = 1e-6


class Recipe(Protocol):
    """Makes models of patients, as it has prepared them."""

    def prepared(self, data: PatientTensors) -> PatientTensors:
        """Returns what the recipe needs of the patients, in the same order; what is costly and fixed is done here."""
        ...

    def fit(self, data: PatientTensors, randomness: Randomness) -> Mapping[str, Scorer]:
        """Returns the recipe's models by name, always the same names."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class FineTuning:
    """A network trained on from where it stands.

    Attributes:
        name: What its looks are called.
        start: Where each fit starts; left as it is.
        training: Optimizer, learning rate and the passes of all looks together.
    """

    name: str
    start: Classifier
    training: TrainingConfig

    def prepared(self, data: PatientTensors) -> PatientTensors:
        """Returns the patients as they are."""
        return data

    @property
    def looks(self) -> int:
        """One for each pass, at most :data:`MOST_LOOKS`."""
        return min(MOST_LOOKS, math.ceil(self.training.local_epochs))

    def fit(self, data: PatientTensors, randomness: Randomness) -> Mapping[str, Scorer]:
        """Returns the network after each look, such as ``NAME 1/8`` to ``NAME 8/8``."""
        part = dataclasses.replace(self.training, local_epochs=self.training.local_epochs / self.looks)
        model, found = copy.deepcopy(self.start), dict[str, Scorer]()
        for look in range(1, self.looks + 1):
            train(model, data, part, randomness=randomness, plan=None)
            found[f"{self.name} {look}/{self.looks}"] = network_scorer(copy.deepcopy(model))
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class Ridge:
    """Logistic regression with a ridge penalty in the features of a fixed network (or its public coordinates).

    Attributes:
        network: Gives the features; its trunk is not trained.
    """

    network: Classifier

    def prepared(self, data: PatientTensors) -> PatientTensors:
        """Returns a row a patient: the mean features (P, D) of her images; what is no number is 0."""
        rows = torch.nan_to_num(embedded(self.network, data.inputs).double(), posinf=0.0, neginf=0.0)
        total = torch.zeros(data.num_patients, rows.shape[1], dtype=torch.float64)
        total.index_add_(0, data.patient_of, rows)
        means = total / torch.bincount(data.patient_of, minlength=data.num_patients)[:, None]
        return PatientTensors(means, data.patient_labels(), torch.arange(data.num_patients), data.patients)

    def fit(self, data: PatientTensors, randomness: Randomness) -> Mapping[str, Scorer]:
        """Returns a model for each of :data:`STRENGTHS`; it draws nothing."""
        from sklearn.linear_model import LogisticRegression

        features, labels = data.inputs.numpy(), data.patient_labels().numpy()
        centre = features.mean(0)
        scale = float(np.sqrt(np.square(features - centre).sum(1).mean())) or 1.0

        def scorer(strength: float) -> Scorer:
            fitted = LogisticRegression(C=strength, max_iter=10_000).fit((features - centre) / scale, labels)
            return lambda other: np.asarray(
                fitted.decision_function((other.inputs.numpy() - centre) / scale), dtype=np.float64
            )

        return {f"ridge {strength:g}": scorer(strength) for strength in STRENGTHS}


@dataclasses.dataclass(frozen=True, eq=False)
class AsItCame:
    """A model that is used as it is: nothing is fitted, so held-out scores are simply its scores.

    Attributes:
        name: What it is called.
        score: Gives the logits.
    """

    name: str
    score: Scorer

    def prepared(self, data: PatientTensors) -> PatientTensors:
        """Returns a row a patient: the model's logit (P, 1)."""
        logits = torch.from_numpy(self.score(data))[:, None]
        return PatientTensors(logits, data.patient_labels(), torch.arange(data.num_patients), data.patients)

    def fit(self, data: PatientTensors, randomness: Randomness) -> Mapping[str, Scorer]:
        """Returns the one model; it reads no patient and draws nothing."""
        return {self.name: lambda other: np.asarray(other.inputs[:, 0].numpy(), dtype=np.float64)}


def network_scorer(model: Classifier) -> Scorer:
    """Returns the logit of the patient's probability that the network gives; 0 for whom it gives no number."""

    def score(data: PatientTensors) -> Logits:
        probability = np.nan_to_num(predict(model, data).double().numpy(), nan=0.5).clip(_LEAST, 1 - _LEAST)
        return np.asarray(np.log(probability / (1 - probability)))

    return score


def mean_of(scorers: Sequence[Scorer]) -> Scorer:
    """Returns the scorer of mean logits."""
    return lambda data: np.asarray(np.mean([scorer(data) for scorer in scorers], axis=0))


def some_patients(data: PatientTensors, indices: NDArray[np.int64]) -> PatientTensors:
    """Returns the patients of these indices, in this order."""
    rows = data.rows_of(torch.from_numpy(indices))
    of_row = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(one) for one in rows]))
    kept = torch.cat(rows)
    names = tuple(data.patients[index] for index in indices)
    return PatientTensors(data.inputs[kept], data.labels[kept], of_row, names)


def joined(first: PatientTensors, second: PatientTensors) -> PatientTensors:
    """Returns the patients of both."""
    return PatientTensors(
        torch.cat([first.inputs, second.inputs]),
        torch.cat([first.labels, second.labels]),
        torch.cat([first.patient_of, second.patient_of + first.num_patients]),
        first.patients + second.patients,
    )
