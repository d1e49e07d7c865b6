"""What the hub checks of a site's card: each is compared with the hub's own figures, never with another site's."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from common.config.study import StudyConfig
from common.data.shapes import input_shape
from common.errors import SiteCode
from common.evaluation.noised import TOLD
from common.evaluation.scores import ScoreState
from common.evaluation.subgroups import are_asked_for
from common.models.classifier import Classifier
from common.models.weights import frozen_digest
from common.protocol.messages import Refusal, SiteCard
from common.protocol.secure_sum import Announcement, shares_secrets
from common.provenance import PROTOCOL_VERSION, mathematics_digest
from common.training.study_model import study_model

log = logging.getLogger("oncofed")
MOST_SCORED, ALWAYS_SCORED = 2, 50
"""A split that is scored may hold this many times the declared training patients, and this many in any case."""
NOISE_TAIL = 6.5
"""Deviations of noise that an honest sum of counts does not pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What every card of a study must say.

    Attributes:
        shape: Of one network input.
        frozen: SHA-256 of the weights that are not trained, as this hub has them.
        declared: Training patients by site, as the register has them; None where there is no register, and each
            site is believed.
        ready: Tells whether a card holds its site's own certificate of readiness; None: none is asked for.
        summed: Whether a card must announce a key for secure sums.
        signed: Tells whether an announcement is signed by its site's long-term key; None: the hub has no register of
            these keys, and the other sites alone see it.
    """

    shape: tuple[int, ...]
    frozen: str
    declared: Mapping[str, int] | None = None
    ready: Callable[[SiteCard], bool] | None = None
    summed: bool = False
    signed: Callable[[Announcement], bool] | None = None


def hub_model(study: StudyConfig) -> tuple[Classifier, tuple[int, ...]]:
    """Returns the study's model before any training, and the shape of its input.

    Raises:
        ConfigError, ModelError: The study's network does not fit its data.
    """
    shape = input_shape(study.data)
    return study_model(study, shape), shape


def expected_of(model: Classifier, shape: tuple[int, ...]) -> Expected:
    """Returns what cards must say of this model, without a register."""
    return Expected(shape=shape, frozen=frozen_digest(model))


def card_fault(answer: object, name: str, expected: Expected) -> SiteCode | None:
    """Returns the code with which the hub turns the site ``name`` away, None where its card fits."""
    if isinstance(answer, Refusal):
        return answer.code
    if not isinstance(answer, SiteCard):
        return SiteCode.BAD_REQUEST
    found = _fault(answer, name, expected)
    if found is None:
        return None
    code, why = found
    log.warning("%s: %s", name, why)
    return code


def _fault(card: SiteCard, name: str, expected: Expected) -> tuple[SiteCode, str] | None:
    if card.protocol != PROTOCOL_VERSION:
        return (
            SiteCode.MODEL_MISMATCH,
            f"speaks protocol {card.protocol}, the hub {PROTOCOL_VERSION}",
        )
    if card.mathematics_digest != mathematics_digest():
        return SiteCode.MODEL_MISMATCH, "its code computes otherwise than the hub's; install the same release"
    if card.input_shape != expected.shape:
        return SiteCode.BAD_ANSWER, f"reads inputs {card.input_shape}, the study {expected.shape}"
    if card.frozen_digest != expected.frozen:
        return SiteCode.MODEL_MISMATCH, "its frozen weights are others; install the same weight package everywhere"
    if expected.declared is not None and card.declared_patients != expected.declared.get(name):
        agreed = expected.declared.get(name) or "none"
        return SiteCode.BAD_ANSWER, (
            f"declares {card.declared_patients} patients, the register says {agreed}: oncofed-hub agree {name} NUMBER"
        )
    if not counts_fit(card):
        return SiteCode.BAD_ANSWER, f"counts more patients than {card.declared_patients} declared ones allow"
    if expected.ready is not None and not expected.ready(card):
        return SiteCode.DATA_UNFIT, "has no certificate of readiness that holds"
    if expected.summed != _announces(card) or not _is_usable(card, expected):
        return (
            SiteCode.BAD_ANSWER,
            "does not announce name, patients and signed key of its own for secure sums as the study asks",
        )
    return None


def _announces(card: SiteCard) -> bool:
    """Returns whether a card announces a key in its own name."""
    said = card.announcement
    return said is not None and (said.site, said.patients) == (card.site, card.declared_patients)


def _is_usable(card: SiteCard, expected: Expected) -> bool:
    """Returns whether other sites would sum with what a card announces, as far as the hub can tell."""
    said = card.announcement
    return said is None or (shares_secrets(said.key) and (expected.signed is None or expected.signed(said)))


def most_scored(declared_patients: int) -> int:
    """Returns the largest number of validation or test patients that a site of this size can claim."""
    return max(ALWAYS_SCORED, MOST_SCORED * declared_patients)


def counts_fit(card: SiteCard) -> bool:
    """Returns whether each count on a card could be that of a cohort of the declared size."""
    most = most_scored(card.declared_patients)
    return all((count or 0) <= most for row in card.counts.values() for count in row.values())


def scores_fit(card: SiteCard, split: str, state: ScoreState, subgroups: Sequence[str] = (), noise: int = 0) -> bool:
    """Returns whether scores could be those of the patients that the card counts in ``split``, and of no other groups.

    Each class holds exactly as many as the card says; where the card suppresses the number, the split holds at most
    :func:`most_scored` patients, and what ``noise`` (the study's ``evaluation.noise``) adds to an honest sum.
    """
    malignant, benign = int(state.positives.sum()), int(state.negatives.sum())
    told = card.counts.get(split, {})
    found = {"malignant": malignant, "benign": benign, "patients": malignant + benign}
    exact = all(told.get(name) in (None, count) for name, count in found.items())
    most = most_scored(card.declared_patients) + most_added(noise)
    return exact and are_asked_for(state.groups, subgroups) and malignant + benign <= most


def most_added(noise: int) -> int:
    """Returns what noise of this deviation on each told count adds to their sum at most; more once in 10^9 answers.

    The sum of ``2 TOLD`` discrete Gaussians is sub-Gaussian with at most the sum of their variances (Canonne, Kamath
    and Steinke 2020, proposition 25), so six and a half deviations are passed with a probability below 1e-9.
    """
    return math.ceil(NOISE_TAIL * noise * math.sqrt(2 * TOLD))
