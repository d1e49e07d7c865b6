"""What a hospital makes at home, of all its training and validation patients, to compare the federation with."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from common.config.study import StudyConfig
    from common.data.loading import PatientTensors
    from common.evaluation.answers import OwnName
    from common.evaluation.decision import OperatingPoint
    from common.evaluation.intervals import Floats
    from common.models.classifier import Classifier
    from common.privacy.randomness import Randomness
    from common.training.home_model import HeldOut
    from common.training.recipes import FineTuning, Recipe


PUBLIC = "public checkpoint"


@dataclasses.dataclass(frozen=True, eq=False)
class Own:
    """A model that stays at the hospital.

    Attributes:
        probabilities: Returns (P,) in [0, 1] of other patients.
        point: Where it calls a patient malignant.
        name: How it came about.
    """

    probabilities: Callable[[PatientTensors], Floats]
    point: OperatingPoint
    name: str


def made_at_home(
    federated: Classifier,
    fresh: Classifier,
    train: PatientTensors,
    val: PatientTensors,
    study: StudyConfig,
    randomness: Callable[[str, int], Randomness],
    together: int = 1,
) -> Mapping[OwnName, Own]:
    """Returns ``local``; ``personalised`` where the study wants it; ``public`` where it starts from a checkpoint.

    ``local`` is the best of fine-tuning, a linear model and the checkpoint as it came; ``personalised`` the best with
    the federated model too. Both are chosen, calibrated and given their threshold on the hospital's patients held out
    in turn. ``public`` is the checkpoint as it came, its threshold from the validation patients. ``together``
    neighbouring scores count as one where a threshold is chosen.
    """
    home, point = home_of(fresh, train, val, study, randomness), partial(_point, study=study, together=together)
    made: dict[OwnName, Own] = {"local": _own(home, point)}
    if study.evaluation.personal_epochs:
        made["personalised"] = _own(_with_federation(home, federated, train, val, study, randomness), point)
    if study.model.checkpoint:
        made["public"] = _public(fresh, val, point)
    return made


def home_of(
    fresh: Classifier,
    train: PatientTensors,
    val: PatientTensors,
    study: StudyConfig,
    randomness: Callable[[str, int], Randomness],
) -> HeldOut:
    """Returns the best model of the hospital's training and validation patients that it makes alone."""
    from common.training.recipes import joined

    return _best(_recipes(fresh, study), joined(train, val), study, partial(randomness, "baseline"))


def _with_federation(
    home: HeldOut,
    federated: Classifier,
    train: PatientTensors,
    val: PatientTensors,
    study: StudyConfig,
    randomness: Callable[[str, int], Randomness],
) -> HeldOut:
    from common.training.home_model import with_federation
    from common.training.recipes import joined, network_scorer

    data, rules = joined(train, val), study.evaluation
    tuning = _tuning("federated model tuned", federated, study, rules.personal_epochs, rules.personal_lr)
    tuned = _best([tuning], data, study, partial(randomness, "personalise")) if tuning else None
    # Without privacy the federated model may know its training patients by heart.
    counts = np.arange(data.num_patients) >= (0 if study.privacy.private else train.num_patients)
    return with_federation(home, network_scorer(federated), tuned, data, counts)


def _best(
    recipes: list[Recipe], data: PatientTensors, study: StudyConfig, draws: Callable[[int], Randomness]
) -> HeldOut:
    from common.training.home_model import home_model

    rules = study.evaluation
    return home_model(recipes, data, folds=rules.home_folds, seeds=rules.home_seeds, fresh=draws)


def _recipes(fresh: Classifier, study: StudyConfig) -> list[Recipe]:
    """Returns what is tried at home: the start tuned, a linear model of its features, a checkpoint as it came."""
    from common.training.recipes import AsItCame, Ridge, network_scorer

    rules = study.evaluation
    tuning = _tuning("tuned", _network(fresh, study), study, rules.local_epochs, rules.local_lr)
    fixed = copy.deepcopy(fresh)
    fixed.trunk.requires_grad_(False)
    unchanged = [AsItCame(PUBLIC, network_scorer(public_network(fresh)))] if study.model.checkpoint else []
    return [*([tuning] if tuning else []), Ridge(fixed), *unchanged]


def _network(fresh: Classifier, study: StudyConfig) -> Classifier:
    """Returns the network to tune: behind a linear model's public features stands a whole one."""
    from common.models.parts import select_part

    network = public_network(fresh)
    part = study.model.part if network is fresh else "all"
    network = copy.deepcopy(network)
    select_part(network, study.evaluation.home_part or part)
    return network


def _tuning(name: str, start: Classifier, study: StudyConfig, epochs: float, lr: float) -> FineTuning | None:
    """Returns the recipe; None without passes, or for a head that is made of sums and takes no gradient."""
    from common.models.statistics_head import StatisticsHead
    from common.training.recipes import FineTuning

    if not epochs or isinstance(start.head, StatisticsHead):
        return None
    rules = study.evaluation
    training = dataclasses.replace(
        study.training, method="dp_sgd", local_steps=0, local_epochs=epochs, lr=lr,
        optimizer=rules.local_optimizer, batch_patients=rules.local_batch,
    )  # fmt: skip
    return FineTuning(name, start, training)


def _own(model: HeldOut, point: Callable[[Floats, Floats], OperatingPoint]) -> Own:
    chosen = point(model.probability(model.logits), model.labels)
    return Own(lambda data: model.probability(model.score(data)), chosen, model.name)


def _public(fresh: Classifier, val: PatientTensors, point: Callable[[Floats, Floats], OperatingPoint]) -> Own:
    from client.site.scoring import patient_scores

    network = public_network(fresh)
    chosen = point(patient_scores(network, val), val.patient_labels().numpy())
    return Own(lambda data: patient_scores(network, data), chosen, PUBLIC)


def public_network(fresh: Classifier) -> Classifier:
    """Returns the network of the checkpoint, which ``fresh`` is or, behind public features, holds."""
    from common.models.linearised import PublicCoordinates

    return fresh.trunk.network if isinstance(fresh.trunk, PublicCoordinates) else fresh


def _point(probabilities: Floats, labels: Floats, study: StudyConfig, together: int) -> OperatingPoint:
    """Returns the threshold without how many patients chose it and how well: training patients are among them."""
    from common.evaluation.decision import operating_point
    from common.evaluation.scores import ScoreState, coarsened

    bins = study.evaluation.bins
    state = ScoreState.of(coarsened(probabilities, bins, together), labels, bins)
    point = operating_point(study.evaluation.threshold, state, bins)
    return dataclasses.replace(point, youden=None, patients=0)
