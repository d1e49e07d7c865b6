"""What the sum of all sites' releases does to the head of the statistics training, at the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.config.study import StudyConfig
from common.training.statistics_rule import coefficients, settled

MOMENTS, WEIGHT, AVERAGE = "head.moments", "head.weight", "head.average"
"""The trained tensors of a network with a :class:`common.models.statistics_head.StatisticsHead`."""


def release_size(arrays: Mapping[str, NDArray[Any]], round_index: int) -> int:
    """Returns how many values the sum of a round has, from the trained tensors."""
    return int(arrays[MOMENTS if round_index == 1 else WEIGHT].size)


def summed_updates(
    total: NDArray[np.int64], arrays: Mapping[str, NDArray[Any]], study: StudyConfig, round_index: int
) -> dict[str, NDArray[np.int64]]:
    """Returns what the sum of all sites' releases, int64 (D,) steps of a grid, adds to each trained tensor.

    As :func:`common.training.statistics.train_statistics` does with a site's own release, from the sum alone.
    """
    sums = {name: np.zeros(values.shape, np.int64) for name, values in arrays.items()}
    if round_index == 1:
        return sums | {MOMENTS: total}
    for_weight, for_average = coefficients(settled(study).release, study.training.rounds, round_index)
    scaled = {WEIGHT: for_weight, AVERAGE: for_average}
    return sums | {name: np.rint(factor * total).astype(np.int64) for name, factor in scaled.items()}
