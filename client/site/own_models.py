"""The site's own models beside the federated one, on its own test patients: scores, thresholds, paired differences."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.site.policy import OwnLevel
    from common.config.study import StudyConfig
    from common.data.loading import PatientTensors
    from common.evaluation.answers import OwnModel, OwnModels, OwnName, Pair
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

    ``local`` is the best the site can do by itself, ``personalised`` the best with the federated model too, both chosen
    on training and validation patients held out in turn; ``public`` is the public checkpoint that training starts from.

    Args:
        site: Name of the site; with the study's seed it seeds the bootstrap.
        federated: The global model of the chosen round.
        fresh: The model before any training.
        load: Returns the site's patients of a split.
        study: The study.
        randomness: Of the site.
        together: How many neighbouring scores are told as one.
    """
    from client.site.home import made_at_home
    from client.site.scoring import patient_scores
    from common.evaluation.answers import OwnModel, OwnModels
    from common.evaluation.scores import ScoreState, coarsened

    test, bins = load("test"), study.evaluation.bins
    labels = test.patient_labels().numpy()
    scores: dict[str, Floats] = {"federated": patient_scores(federated, test)}
    models: dict[OwnName, OwnModel] = {}
    made = made_at_home(federated, fresh, load("train"), load("val"), study, randomness, together)
    for name, own in made.items():
        scores[name] = own.probabilities(test)
        models[name] = OwnModel(ScoreState.of(coarsened(scores[name], bins, together), labels, bins), own.point)
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


def check_level(document: Mapping[str, Any], level: OwnLevel) -> None:
    """Refuses an answer that was kept from a day on which the policy let more leave.

    Raises:
        NotReleased: It tells more than the policy's level.
    """
    from client.site.policy import OWN_LEVELS
    from common.errors import NotReleased

    kept = str(document.get("level", "full"))
    if OWN_LEVELS.index(kept) > OWN_LEVELS.index(level):
        raise NotReleased(f"The answer about own models was made as {kept}; the policy now lets {level} leave")


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
