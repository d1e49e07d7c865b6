"""A patient's score as a site counts it: there is one for each patient, whatever weights a hub sends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from common.data.loading import PatientTensors
    from common.evaluation.intervals import Floats
    from common.models.classifier import Classifier

log = logging.getLogger("oncofed.site")
NO_OPINION = 0.5
"""The score of a patient for whom the model gives no number."""


def patient_scores(model: Classifier, data: PatientTensors) -> Floats:
    """Returns each patient's probability of malignancy, (P,) in [0, 1].

    Where the model gives no number it is :data:`NO_OPINION`. To refuse would tell a hub that there is such a patient,
    one alone: it can choose weights that overflow for one kind of image only.
    """
    from common.training.loop import predict

    scores = predict(model, data).numpy()
    missing = int(np.isnan(scores).sum())
    if missing:
        log.warning(
            "The model gives no number for %d of %d patients; each counts as %g", missing, scores.size, NO_OPINION
        )
    return np.where(np.isnan(scores), np.float32(NO_OPINION), scores)
