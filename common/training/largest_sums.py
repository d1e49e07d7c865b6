"""How long the update of an honest site can be in one round of the statistics training: from the public study alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from common.config.study import StudyConfig
from common.privacy.accounting import default_delta
from common.privacy.largest_update import LOG_TAIL, noise_ceiling
from common.privacy.shares import MOST_PATIENTS, noise_share
from common.privacy.statistics import UNIT, sensitivities
from common.training.statistics_rule import coefficients, settled

ABOVE_SENSITIVITY = 1.01
"""The noise covers a little more than the sensitivity: arithmetic and rounding to the grid."""


def largest_sums_norm(study: StudyConfig, declared_patients: int, round_index: int, parameters: int) -> float:
    """Returns the largest L2 norm of an honest site's update in the round; noise passes it once in 10^9 rounds.

    A sum over n patients is at most n sensitivities long, and its noise, Gaussian on at most ``parameters`` values, at
    most deviation * (sqrt(parameters) + sqrt(2 log 10^9)) (Boucheron et al. 2013, theorem 5.6).
    """
    sensitivity = sensitivities(study.training.rounds, study.training.statistics.residual)[round_index - 1]
    noise = noise_multiplier(study, declared_patients) * (math.sqrt(parameters) + math.sqrt(2 * LOG_TAIL))
    longest = sensitivity * (MOST_PATIENTS * declared_patients + noise) * ABOVE_SENSITIVITY / UNIT
    return longest * (1.0 if round_index == 1 else _stretch(study, round_index))


def largest_mean_norm(study: StudyConfig, sizes: Sequence[int], round_index: int, parameters: int) -> float:
    """Returns the largest L2 norm of the mean update that a secure sum of honest sites can show in the round.

    Args:
        study: With ``privacy.mode=distributed``.
        sizes: Declared patients of each site of the roster.
        round_index: From 1.
        parameters: Values of the round's sum.
    """
    sensitivity = sensitivities(study.training.rounds, study.training.statistics.residual)[round_index - 1]
    share = noise_share(study, sizes, sizes[0], study.privacy.colluders, round_index)
    noise = share.total_std * math.sqrt(len(sizes)) * (math.sqrt(parameters) + math.sqrt(2 * LOG_TAIL))
    longest = (sensitivity * MOST_PATIENTS * sum(sizes) / UNIT + noise) * ABOVE_SENSITIVITY / len(sizes)
    return longest * (1.0 if round_index == 1 else _stretch(study, round_index))


def _stretch(study: StudyConfig, round_index: int) -> float:
    return math.hypot(*coefficients(settled(study).release, study.training.rounds, round_index))


def noise_multiplier(study: StudyConfig, declared_patients: int) -> float:
    """Returns a noise multiplier that an honest site of this size does not pass; 0 without privacy."""
    privacy = study.privacy
    if not privacy.private:
        return 0.0
    delta = default_delta(declared_patients) if privacy.delta is None else privacy.delta
    return noise_ceiling(privacy.epsilon, delta, 1.0, study.training.rounds)
