"""The network of a study, as hub and sites build it before the first round."""

from __future__ import annotations

from common.config.study import StudyConfig
from common.models.classifier import Classifier
from common.models.parts import select_part
from common.models.statistics_head import StatisticsHead, public_eigenvalues
from common.models.zoo import build_model
from common.training.statistics_rule import head_settings


def study_model(study: StudyConfig, shape: tuple[int, ...]) -> Classifier:
    """Returns the study's network for inputs of this shape, with the trained part marked.

    Raises:
        ModelError: The network cannot be had, does not read such inputs, or has no public basis where one is needed.
    """
    model = build_model(study.model, shape, study.seed)
    if study.training.method == "statistics":
        eigenvalues = public_eigenvalues(model.trunk)
        model.add_module("head", StatisticsHead(eigenvalues, head_settings(study, len(eigenvalues))))
    select_part(model, study.model.part)
    return model
