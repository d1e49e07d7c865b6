"""The likelihood-ratio membership attack (LiRA) on released models, private and plain.

Carlini et al. (2022), "Membership inference attacks from first principles", the online attack with variances shared
by all patients, as they advise for few shadow models. Each model is the target once; the others are its shadows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from common.data.loading import PatientTensors
from common.errors import ConfigError

if TYPE_CHECKING:
    from common.models.classifier import Classifier

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
LOW_RATE = 0.01
"""False positive rate at which an attack must still be right to hurt anybody (Carlini et al. 2022, section 3)."""
FEWEST_MODELS = 4
RESAMPLES = 400
_EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Attack:
    """How well members are told from others.

    Attributes:
        auc: Mean over the models of the area under the attack's ROC curve; 0.5 is a coin.
        low: Lower limit of its interval.
        high: Upper limit.
        confidence: Of the interval: a bootstrap over patients; the chance in which models were trained is not in it.
        tpr_at_low_fpr: Share of members found when 1% of the others are called members.
        models: Models trained, each the target once.
        patients: Patients attacked.
    """

    auc: float
    low: float
    high: float
    confidence: float
    tpr_at_low_fpr: float
    models: int
    patients: int


def attack_models(
    trained: Callable[[PatientTensors], Classifier],
    pool: PatientTensors,
    models: int,
    generator: np.random.Generator,
    *,
    confidence: float = 0.95,
) -> Attack:
    """Returns the attack on ``models`` networks, each trained on the patients of the pool that a fair coin chose.

    Args:
        trained: Returns the model that is released after training on such patients.
        pool: Patients attacked; about half of them are members of each model.
        models: How many to train, at least 4.
        generator: Tosses the coins and resamples.
        confidence: Of the interval.

    Raises:
        ConfigError: There are too few models.
    """
    if models < FEWEST_MODELS:
        raise ConfigError(f"An attack with {models} models has no shadows to learn from; choose --models 4 or more")
    members = generator.random((models, pool.num_patients)) < 0.5
    margins = np.stack([margin(trained(chosen(pool, row)), pool) for row in members])
    return judge_attack(likelihood_ratios(margins, members), members, generator, confidence=confidence)


def chosen(pool: PatientTensors, keep: Bools) -> PatientTensors:
    """Returns the patients for which ``keep`` (P,) is true, in their order."""
    rows = torch.from_numpy(keep)[pool.patient_of]
    number = torch.from_numpy(np.cumsum(keep) - 1)
    names = tuple(name for name, kept in zip(pool.patients, keep.tolist(), strict=True) if kept)
    return PatientTensors(pool.inputs[rows], pool.labels[rows], number[pool.patient_of[rows]], names)


def joined(parts: list[PatientTensors]) -> PatientTensors:
    """Returns all patients of all parts as one cohort."""
    starts = np.cumsum([0, *(part.num_patients for part in parts)])
    return PatientTensors(
        torch.cat([part.inputs for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.patient_of + int(start) for part, start in zip(parts, starts, strict=False)]),
        tuple(f"{index}/{name}" for index, part in enumerate(parts) for name in part.patients),
    )


def margin(model: Classifier, pool: PatientTensors) -> Floats:
    """Returns log(p / (1 - p)) for the true class's probability p of each patient, (P,): nearly normal."""
    from common.training.loop import predict

    malignant = predict(model, pool).double().clamp(_EDGE, 1 - _EDGE)
    sign = 2 * pool.patient_labels().double() - 1
    result: Floats = (torch.logit(malignant) * sign).numpy()
    return result


def likelihood_ratios(margins: Floats, members: Bools) -> Floats:
    """Returns log N(x; in) / N(x; out) of each model's margins, fitted on the other models, (K, P).

    Carlini et al. (2022), algorithm 1. A patient that all other models hold, or none, gets the mean of all patients.
    """
    models = len(margins)
    ratios = np.empty_like(margins)
    for target in range(models):
        others = np.arange(models) != target
        inside = _normal(margins[others], members[others])
        outside = _normal(margins[others], ~members[others])
        ratios[target] = _log_density(margins[target], *inside) - _log_density(margins[target], *outside)
    return ratios


def _normal(margins: Floats, counted: Bools) -> tuple[Floats, float]:
    """Each patient's mean over the models counted, and one standard deviation for all."""
    count = counted.sum(0)
    overall = float(margins[counted].mean()) if counted.any() else float(margins.mean())
    mean = np.where(count > 0, (margins * counted).sum(0) / np.maximum(count, 1), overall)
    freedom = max(1, int((count - 1).clip(min=0).sum()))
    spread = float(np.sqrt((((margins - mean) ** 2) * counted).sum() / freedom))
    return mean, max(spread, _EDGE)


def _log_density(values: Floats, mean: Floats, spread: float) -> Floats:
    density: Floats = -((values - mean) ** 2) / (2 * spread**2) - np.log(spread)
    return density


def judge_attack(scores: Floats, members: Bools, generator: np.random.Generator, *, confidence: float = 0.95) -> Attack:
    """Returns how well scores (K, P), higher for members, tell who was a member of which model."""
    models, patients = scores.shape
    draws = generator.multinomial(patients, np.full(patients, 1 / patients), size=RESAMPLES).astype(np.float64)
    weights = np.concatenate([np.ones((1, patients)), draws])
    areas = np.mean([_areas(scores[k], members[k], weights) for k in range(models)], axis=0)
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(areas[1:], [tail, 1 - tail])
    found = _true_positive_rate(scores, members)
    return Attack(float(areas[0]), float(low), float(high), confidence, found, models, patients)


def _areas(scores: Floats, members: Bools, weights: Floats) -> Floats:
    """Returns the area under the ROC curve under each row of patient weights, (B,); nan where a side is empty."""
    beats = np.greater.outer(scores[members], scores[~members]).astype(np.float64)
    beats += 0.5 * np.equal.outer(scores[members], scores[~members])
    inside, outside = weights[:, members], weights[:, ~members]
    with np.errstate(invalid="ignore", divide="ignore"):
        areas: Floats = ((inside @ beats) * outside).sum(1) / (inside.sum(1) * outside.sum(1))
    return areas


def _true_positive_rate(scores: Floats, members: Bools) -> float:
    others = scores[~members]
    if not len(others) or not members.any():
        return float("nan")
    threshold = np.quantile(others, 1 - LOW_RATE, method="higher")
    return float((scores[members] > threshold).mean())
