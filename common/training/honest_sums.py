"""What no honest site of the statistics training can send in a round, whatever its patients are.

A sum over n patients tells n as well, and bounds itself by it: each of them adds (u, u * u, 1/2) with |u| <= 1 in the
first round, and one residual sum that both weight tensors follow from in every later one
(:mod:`common.privacy.statistics`). A limit on the length alone would let a site put all of its length into the count,
or into the one tensor that is scored. Noise is allowed for, so an honest update fits but once in 10^8 rounds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.config.study import StudyConfig
from common.privacy.largest_update import LOG_TAIL
from common.privacy.shares import MOST_PATIENTS
from common.privacy.statistics import COUNT_SHARE, SPREAD_SENSITIVITY, UNIT
from common.protocol.aggregation import Arrays
from common.training.largest_sums import ABOVE_SENSITIVITY, noise_multiplier
from common.training.statistics_rule import coefficients, settled
from common.training.summed_rounds import AVERAGE, MOMENTS, WEIGHT

Floats = NDArray[np.float64]
ROUNDINGS = 16
"""Roundings of float32 that may lie between the two weight tensors of one sum."""
SLACK = 1e-3
"""Share of a sum that float32 and the grid may move it by, far above what they do."""


def is_honest(study: StudyConfig, declared_patients: int, round_index: int, before: Arrays, update: Arrays) -> bool:
    """Returns whether a site's update has the shape that every honest one has; True for other trainings.

    Args:
        study: The study.
        declared_patients: Of the site.
        round_index: From 1.
        before: The weights that the round starts from.
        update: What is added to each, of the same names and shapes.
    """
    if study.training.method != "statistics":
        return True
    if round_index > 1:
        return not update[MOMENTS].any() and _is_one_sum(study, round_index, before, update)
    moments = update[MOMENTS].astype(np.float64) * UNIT
    alone = not (update[WEIGHT].any() or update[AVERAGE].any())
    return alone and _is_of_patients(moments, _deviation(study, declared_patients))


def share_within(study: StudyConfig, declared_patients: int, round_index: int, update: Arrays) -> float:
    """Returns the share of an update, at most 1, that counts as many patients as the site can have."""
    if study.training.method != "statistics" or round_index > 1:
        return 1.0
    tail = _deviation(study, declared_patients) * _tail(update[MOMENTS].size)
    most, count = COUNT_SHARE * MOST_PATIENTS * declared_patients + tail, float(update[MOMENTS][-1]) * UNIT
    return 1.0 if count <= most else most / count


def _deviation(study: StudyConfig, declared_patients: int) -> float:
    return SPREAD_SENSITIVITY * ABOVE_SENSITIVITY * noise_multiplier(study, declared_patients)


def _tail(values: int) -> float:
    """Returns how many deviations the largest of so many Gaussian values passes once in 10^9 draws at most."""
    return math.sqrt(2 * (LOG_TAIL + math.log(values)))


def _is_of_patients(moments: Floats, deviation: float) -> bool:
    """Returns whether centre, squares and count (2 q + 1,) can be those of one cohort."""
    q, tail = len(moments) // 2, deviation * _tail(len(moments))
    centre, squares, count = moments[:q], moments[q : 2 * q], float(moments[-1])
    least = -tail - SLACK
    if count < least or float(squares.min(initial=0.0)) < least:
        return False
    patients = (count + tail) / COUNT_SHARE * (1 + SLACK) + SLACK
    loud = deviation * (math.sqrt(q) + math.sqrt(2 * LOG_TAIL))
    summed = deviation * math.sqrt(2 * LOG_TAIL * q)
    return float(np.linalg.norm(centre)) <= patients + loud and float(squares.sum()) <= patients + summed


def _is_one_sum(study: StudyConfig, round_index: int, before: Arrays, update: Arrays) -> bool:
    """Returns whether both weight tensors moved by one sum, each times its public coefficient."""
    for_weight, for_average = coefficients(settled(study).release, study.training.rounds, round_index)
    weight, average = (update[name].astype(np.float64) for name in (WEIGHT, AVERAGE))
    sizes: Any = sum(np.abs(part[name].astype(np.float64)) for part in (before, update) for name in (WEIGHT, AVERAGE))
    unit = ROUNDINGS * float(np.finfo(np.float32).eps) * max(for_weight, for_average)
    return bool((np.abs(average * for_weight - weight * for_average) <= unit * sizes).all())
