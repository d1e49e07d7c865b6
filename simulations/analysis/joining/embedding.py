"""All patients of a public data set as rows of public features, so that many consortia can be tried on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from client.site.home import PUBLIC, public_network
from common.config.study import StudyConfig
from common.data.loading import PatientTensors, to_tensors
from common.models.classifier import Classifier
from common.models.statistics_head import StatisticsHead, public_eigenvalues
from common.training.loop import embedded
from common.training.recipes import AsItCame, Logits, Ridge, network_scorer
from common.training.statistics_rule import head_settings
from common.training.study_model import study_model
from simulations.data.sources import open_any


@dataclass(frozen=True, eq=False)
class Embedded:
    """Patients of one data set.

    Attributes:
        data: A row of public coordinates an image.
        eigenvalues: (D,), the public variances of the coordinates.
        public: Logit of each patient that the public checkpoint gives as it came.
    """

    data: PatientTensors
    eigenvalues: Tensor
    public: Mapping[str, float]

    def recipes(self, study: StudyConfig) -> list[Ridge | AsItCame]:
        """Returns what each hospital tries at home: a linear model of the coordinates, the checkpoint as it came."""
        return [Ridge(self.model(study)), AsItCame(PUBLIC, self.public_logits)]

    def public_logits(self, data: PatientTensors) -> Logits:
        """Returns (P,) the public checkpoint's logits of some of the patients."""
        return np.array([self.public[patient] for patient in data.patients], dtype=np.float64)

    def model(self, study: StudyConfig) -> Classifier:
        """Returns the study's linear model before any training, on rows of coordinates."""
        settings = head_settings(study, len(self.eigenvalues))
        model = Classifier(nn.Identity(), len(self.eigenvalues), channels=1)
        model.add_module("head", StatisticsHead(self.eigenvalues, settings))
        return model.requires_grad_(False)


def embed(study: StudyConfig) -> Embedded:
    """Returns the patients of the study's data at its checkpoint.

    Raises:
        OncoFedError: The data or the checkpoint cannot be read.
    """
    images = to_tensors(open_any(study.data, study.seed), study.data)
    model = study_model(study, tuple(images.inputs.shape[1:]))
    rows = PatientTensors(embedded(model, images.inputs), images.labels, images.patient_of, images.patients)
    logits = network_scorer(public_network(model))(images).tolist()
    return Embedded(rows, public_eigenvalues(model.trunk), dict(zip(images.patients, logits, strict=True)))
