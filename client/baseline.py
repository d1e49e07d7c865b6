"""The honest alternative a hospital has: a model of its own patients alone, without noise, that never leaves."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.config import StudyConfig
    from common.data.loading import PatientTensors
    from common.models.zoo import Classifier
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
    from common.training import train

    training = dataclasses.replace(
        study.training,
        local_steps=0,
        local_epochs=study.evaluation.local_epochs / CHECKS,
        optimizer=study.evaluation.local_optimizer,
        lr=study.evaluation.local_lr,
    )
    best, best_auroc = None, -1.0
    for _ in range(CHECKS):
        train(model, train_data, training, randomness=randomness, plan=None)
        auroc = validation_auroc(model, val_data, study)
        if auroc is not None and auroc > best_auroc:
            best, best_auroc = copy.deepcopy(model.state_dict()), auroc
    if best is not None:
        model.load_state_dict(best)


def validation_auroc(model: Classifier, val_data: PatientTensors, study: StudyConfig) -> float | None:
    """Returns the AUROC by patient on the site's validation patients, or None where it is not defined."""
    from common.evaluation.metrics import summarise
    from common.evaluation.scores import ScoreState
    from common.training import predict

    state = ScoreState.of(predict(model, val_data).numpy(), val_data.patient_labels().numpy(), study.evaluation.bins)
    metrics = summarise(state, threshold=study.evaluation.threshold, confidence=study.evaluation.confidence)
    value: float | None = metrics["auroc"]["value"]
    return value
