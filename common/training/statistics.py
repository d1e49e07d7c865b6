"""One site's round of the statistics training: one sum over all patients, one draw of noise, one update."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from common.config.study import StudyConfig
from common.data.loading import PatientTensors
from common.errors import ModelError
from common.models.classifier import Classifier
from common.models.statistics_head import StatisticsHead
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.privacy.statistics import UNIT, patient_means, residual_parts, spread_parts
from common.training.loop import embedded
from common.training.statistics_rule import coefficients, settled


def train_statistics(
    model: Classifier,
    data: PatientTensors,
    study: StudyConfig,
    round_index: int,
    *,
    randomness: Randomness,
    plan: PrivacyPlan | None,
) -> None:
    """Changes the trained tensors of ``model``'s head by this site's noisy sum of one round, in place.

    Nothing but the noisy sum reads the patients. In round 1 it becomes the head's moments; later it is added to its
    weights, as often as :func:`common.training.statistics_rule.coefficients` says.

    Args:
        model: The global model, with a head of the statistics training.
        data: The site's training patients; all of them take part.
        study: The study.
        round_index: From 1.
        randomness: Draws the noise.
        plan: The privacy plan, or None for training without privacy.

    Raises:
        ModelError: The model has another head.
    """
    head = _head(model)
    release = round_sum(model, data, study, round_index)
    if plan is not None:
        release = torch.from_numpy(plan.noised_sum(round_index, release, randomness.noise))
    _put(head, release.float() / UNIT, study, round_index)


def _head(model: Classifier) -> StatisticsHead:
    if not isinstance(model.head, StatisticsHead):
        raise ModelError("The model has no head of the statistics training; build it from the study")
    return model.head


def round_sum(model: Classifier, data: PatientTensors, study: StudyConfig, round_index: int) -> Tensor:
    """Returns the sum of what the patients add in a round, float64 (D,), before any noise: it may not leave the site.

    One patient more or less moves it by at most the round's :func:`common.privacy.statistics.sensitivities`. Features
    come from the model's device; from there on all is float64 on the CPU.
    """
    head = copy.deepcopy(_head(model)).cpu()
    with torch.no_grad():
        rows = data.rows_of(torch.arange(data.num_patients))
        means = patient_means(embedded(model, data.inputs), rows, study.privacy.max_images)
        if round_index == 1:
            return spread_parts(head.whitened(means)).sum(0)
        coordinates, labels = head.coordinates(means), data.patient_labels()
        weights = head.weight if settled(study).release == "steps" else torch.zeros_like(head.weight)
        logits = head.logits(coordinates, weights)
        return residual_parts(coordinates, labels, logits, study.training.statistics.residual).sum(0)


def _put(head: StatisticsHead, release: Tensor, study: StudyConfig, round_index: int) -> None:
    release = release.to(head.moments.device)
    with torch.no_grad():
        if round_index == 1:
            head.moments.copy_(release)
            return
        for_weight, for_average = coefficients(settled(study).release, study.training.rounds, round_index)
        head.weight.add_(for_weight * release)
        head.average.add_(for_average * release)
