"""The honest alternatives a hospital has: models of its own, without noise, that never leave it."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.config.study import StudyConfig, TrainingConfig
    from common.data.loading import PatientTensors
    from common.evaluation.decision import OperatingPoint
    from common.evaluation.scores import ScoreState
    from common.models.classifier import Classifier
    from common.privacy.randomness import Randomness

CHECKS = 8
"""How often the site looks at its validation patients; the best look is kept."""


def train_alone(
    model: Classifier, train_data: PatientTensors, val_data: PatientTensors, study: StudyConfig, randomness: Randomness
) -> None:
    """Trains ``model`` in place for ``evaluation.local_epochs`` passes and leaves it at its best validation AUROC.

    Where validation holds one class only, the last weights stay. Nothing here is private, so nothing of it may be
    sent anywhere but as a test score histogram.
    """
    training = _training(study, study.evaluation.local_epochs, study.evaluation.local_lr)
    _keep_best(model, train_data, val_data, training, randomness, also_start=False)


def personalise(
    model: Classifier, train_data: PatientTensors, val_data: PatientTensors, study: StudyConfig, randomness: Randomness
) -> None:
    """Fine-tunes the federated ``model`` in place for ``evaluation.personal_epochs`` passes, without noise.

    It stays as it came where no look at validation is better. Nothing here is private; see :func:`train_alone`.
    """
    training = _training(study, study.evaluation.personal_epochs, study.evaluation.personal_lr)
    _keep_best(model, train_data, val_data, training, randomness, also_start=True)


def _training(study: StudyConfig, epochs: float, lr: float) -> TrainingConfig:
    return dataclasses.replace(
        study.training,
        local_steps=0,
        local_epochs=epochs / CHECKS,
        optimizer=study.evaluation.local_optimizer,
        lr=lr,
    )


def _keep_best(
    model: Classifier, train_data: PatientTensors, val_data: PatientTensors, training: TrainingConfig,
    randomness: Randomness, also_start: bool,
) -> None:  # fmt: skip
    """Leaves ``model`` at the look with the best validation AUROC, the first of equals."""
    from common.evaluation.metrics import auroc
    from common.training.loop import train

    best, best_auroc = None, -1.0
    for check in range(0 if also_start else 1, CHECKS + 1):
        if check:
            train(model, train_data, training, randomness=randomness, plan=None)
        area = auroc(scores_of(model, val_data))
        if area is not None and area > best_auroc:
            best, best_auroc = copy.deepcopy(model.state_dict()), area
    if best is not None:
        model.load_state_dict(best)


def scores_of(model: Classifier, data: PatientTensors, bins: int | None = None) -> ScoreState:
    """Returns the score counts of patients, without subgroups; ``bins`` None: as many as is usual."""
    from client.site.scoring import patient_scores
    from common.evaluation.scores import DEFAULT_BINS, ScoreState

    return ScoreState.of(patient_scores(model, data), data.patient_labels().numpy(), bins or DEFAULT_BINS)


def own_threshold(model: Classifier, val_data: PatientTensors, study: StudyConfig) -> OperatingPoint:
    """Returns the threshold of the site's own model: the study's number, or the best on its validation patients."""
    from common.evaluation.decision import operating_point

    bins = study.evaluation.bins
    return operating_point(study.evaluation.threshold, scores_of(model, val_data, bins), bins)
