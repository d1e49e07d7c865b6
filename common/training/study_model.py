"""The network of a study, as hub and sites build it before the first round."""

from __future__ import annotations

import copy
from functools import lru_cache

from common.config.study import ModelConfig, StudyConfig
from common.models.classifier import Classifier
from common.models.parts import select_part
from common.models.statistics_head import StatisticsHead, public_eigenvalues
from common.models.zoo import build_model
from common.training.statistics_rule import head_settings

NAMED_WEIGHTS = (None, "package")


def study_model(study: StudyConfig, shape: tuple[int, ...]) -> Classifier:
    """Returns the study's network for inputs of this shape, with the trained part marked; it is the caller's own.

    Raises:
        ModelError: The network cannot be had, does not read such inputs, or has no public basis where one is needed.
    """
    model = _fresh(study.model, shape, study.seed)
    if study.training.method == "statistics":
        eigenvalues = public_eigenvalues(model.trunk)
        model.add_module("head", StatisticsHead(eigenvalues, head_settings(study, len(eigenvalues))))
    select_part(model, study.model.part)
    return model


def _fresh(config: ModelConfig, shape: tuple[int, ...], seed: int) -> Classifier:
    """Returns a new network; where nothing but the arguments decides its weights, a copy of one that was built before.

    A large network takes half a second to build, and each request of a round needs one.
    """
    if config.weights in NAMED_WEIGHTS or config.checkpoint:
        return copy.deepcopy(_built(config, shape, seed))
    return build_model(config, shape, seed)


@lru_cache(maxsize=2)
def _built(config: ModelConfig, shape: tuple[int, ...], seed: int) -> Classifier:
    return build_model(config, shape, seed)
