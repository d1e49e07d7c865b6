"""The site's own models beside the federated one, on its own test patients: scores, thresholds, paired differences."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.site.policy import OwnLevel
    from common.config.study import StudyConfig
    from common.data.loading import PatientTensors
    from common.evaluation.answers import OwnModels, OwnName, Pair
    from common.evaluation.comparison import Difference
    from common.evaluation.intervals import Floats
    from common.models.classifier import Classifier
    from common.privacy.randomness import Randomness


def own_models(
    site: str,
    federated: Classifier,
    fresh: Classifier,
    load: Callable[[str], PatientTensors],
    study: StudyConfig,
    randomness: Callable[[str, int], Randomness],
    together: int = 1,
) -> OwnModels:
    """Returns what may leave of the models that stay: test score counts, thresholds, differences of AUROC.

    Args:
        site: Name of the site; with the study's seed it seeds the bootstrap.
        federated: The global model of the chosen round; fine-tuned in place.
        fresh: The model before any training; trained in place.
        load: Returns the site's patients of a split.
        study: The study.
        randomness: Of the site.
        together: How many neighbouring scores are told as one.
    """
    from client.site.baseline import own_threshold, personalise, train_alone
    from client.site.scoring import patient_scores
    from common.evaluation.answers import OwnModel, OwnModels
    from common.evaluation.scores import ScoreState, coarsened

    train_data, val_data, test_data = load("train"), load("val"), load("test")
    labels = test_data.patient_labels().numpy()
    scores: dict[str, Floats] = {"federated": patient_scores(federated, test_data)}
    models: dict[OwnName, OwnModel] = {}

    def keep(name: OwnName, model: Classifier) -> None:
        scores[name] = patient_scores(model, test_data)
        bins = study.evaluation.bins
        state = ScoreState.of(coarsened(scores[name], bins, together), labels, bins)
        models[name] = OwnModel(state, own_threshold(model, val_data, study))

    train_alone(fresh, train_data, val_data, study, randomness("baseline", 0))
    keep("local", fresh)
    if study.evaluation.personal_epochs:
        personalise(federated, train_data, val_data, study, randomness("personalise", 0))
        keep("personalised", federated)
    seed = zlib.crc32(f"{study.seed}|{site}".encode())
    return OwnModels(models, _differences(scores, labels, study, seed))


def released(answer: OwnModels, level: OwnLevel, margin: float, confidence: float) -> dict[str, Any]:
    """Returns the document that a policy of that level lets leave; ``none`` lets leave nothing and comes here never."""
    from common.evaluation.own_release import Coarse

    match level:
        case "full":
            return answer.to_json()
        case "verdict" | "rounded":
            return Coarse.of(answer, level, margin, confidence).to_json()
        case "none":
            raise ValueError("A policy that keeps everything has nothing to release")


def _differences(
    scores: dict[str, Floats], labels: Floats, study: StudyConfig, seed: int
) -> dict[Pair, Difference | None]:
    from common.evaluation.answers import PAIRS
    from common.evaluation.comparison import paired_difference

    rules = study.evaluation
    found: dict[Pair, Difference | None] = {}
    for pair in PAIRS:
        first, second = pair.split("_minus_")
        if first in scores and second in scores:
            found[pair] = paired_difference(
                scores[first],
                scores[second],
                labels,
                confidence=rules.confidence,
                resamples=rules.resamples,
                seed=seed,
            )
    return found
