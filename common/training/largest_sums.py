"""How long the update of an honest site can be in one round of the statistics training: from the public study alone."""

from __future__ import annotations

import math

from common.config.study import StudyConfig
from common.models.statistics_head import UNIT
from common.privacy.accounting import default_delta
from common.privacy.largest_update import LOG_TAIL, MOST_PATIENTS, noise_ceiling
from common.privacy.statistics import sensitivities
from common.training.statistics_rule import coefficients, settled

ABOVE_SENSITIVITY = 1.01
"""The noise covers a little more than the sensitivity: arithmetic and rounding to the grid."""


def largest_sums_norm(study: StudyConfig, declared_patients: int, round_index: int, parameters: int) -> float:
    """Returns the largest L2 norm of an honest site's update in the round; noise passes it once in 10^9 rounds.

    A sum over n patients is at most n sensitivities long, and its noise, Gaussian on at most ``parameters`` values, at
    most deviation * (sqrt(parameters) + sqrt(2 log 10^9)) (Boucheron et al. 2013, theorem 5.6).
    """
    sensitivity = sensitivities(study.training.rounds, study.training.statistics.residual)[round_index - 1]
    noise = _multiplier(study, declared_patients) * (math.sqrt(parameters) + math.sqrt(2 * LOG_TAIL))
    longest = sensitivity * (MOST_PATIENTS * declared_patients + noise) * ABOVE_SENSITIVITY / UNIT
    if round_index == 1:
        return longest
    return longest * math.hypot(*coefficients(settled(study).release, study.training.rounds, round_index))


def _multiplier(study: StudyConfig, declared_patients: int) -> float:
    privacy = study.privacy
    if not privacy.private:
        return 0.0
    delta = default_delta(declared_patients) if privacy.delta is None else privacy.delta
    return noise_ceiling(privacy.epsilon, delta, 1.0, study.training.rounds)
