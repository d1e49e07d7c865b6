"""No site moves the model further than an honest one could: longer updates are scaled down, and the run says so.

In a private study the longest honest update follows from the public plan. Without privacy nothing bounds a gradient,
so the sites bound each other: an update counts with at most three times the median norm of its round. Updates of
nothing are left out, and of an even number of sites the larger middle one counts, so that one site that sends almost
nothing does not have the honest ones scaled down, nor one that sends much raise it. Two sites cannot bound each other;
there ``strategy.max_update_norm`` alone holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from common.config.study import StudyConfig
from common.privacy.largest_update import RoundPlan, largest_update_norm, round_plan
from common.protocol.aggregation import Arrays, Update
from common.training.honest_sums import share_within
from common.training.largest_sums import largest_sums_norm
from server.run.updates import CheckedUpdate

OVER_MEDIAN = 3.0
NOTHING = 1e-12
"""Of the round's median norm: an update this small or smaller does not vote on the others'."""
LEAST_SITES = 3
"""Fewest sites that can bound each other."""


@dataclass(slots=True)
class Limits:
    """The largest norms of a study's sites.

    Attributes:
        study: The study.
        declared: Training patients by site.
        parameters: Trained coordinates of the model.
        round_index: The round, from 1; each of the statistics training has a limit of its own.
    """

    study: StudyConfig
    declared: Mapping[str, int]
    parameters: int
    round_index: int = 1
    _plans: dict[int, RoundPlan] = field(default_factory=dict)

    @property
    def known_before(self) -> bool:
        """Whether the limits follow from the study alone, so that no update has to wait for the others."""
        return self.study.privacy.private or self.study.training.method == "statistics"

    def of(self, site: str, start_norm: float) -> float:
        """Returns the largest norm of a private site's update; ``start_norm`` is that of the round's first weights."""
        size = self.declared[site]
        if self.study.training.method == "statistics":
            return largest_sums_norm(self.study, size, self.round_index, self.parameters)
        plan = self._plans.get(size) or round_plan(self.study, size, self.parameters)
        self._plans[size] = plan
        return largest_update_norm(plan, self.study.training, self.study.strategy, start_norm)

    def of_update(self, site: str, start_norm: float, update: CheckedUpdate) -> float:
        """Returns the same for one update, which may not count more patients than the site can have either."""
        share = share_within(self.study, self.declared[site], self.round_index, update.arrays)
        return min(self.of(site, start_norm), share * update.norm)


def common_limit(norms: Mapping[str, float]) -> float:
    """Returns three times the upper median of the norms that are not nothing; infinity for fewer than three of them."""
    middle = _upper_median(norms.values())
    told = [norm for norm in norms.values() if norm > NOTHING * middle]
    return OVER_MEDIAN * _upper_median(told) if len(told) >= LEAST_SITES else float("inf")


def _upper_median(values: Collection[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def clipped(update: CheckedUpdate, limit: float) -> Update:
    """Returns the update, scaled down to ``limit`` where its L2 norm is larger, to be added."""
    if update.norm <= limit:
        return Update.of(update.arrays, update.weight)
    factor = np.float32(limit / update.norm)
    return Update.of({name: values * factor for name, values in update.arrays.items()}, update.weight)


class Waiting:
    """Updates that wait on the disk until all of a round have come, so that memory does not grow with the sites."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="oncofed-round-")
        self._facts: dict[str, tuple[int, float, tuple[str, ...]]] = {}

    @property
    def norms(self) -> dict[str, float]:
        """L2 norm of each update, by site."""
        return {site: norm for site, (_, norm, _) in self._facts.items()}

    def put(self, site: str, update: CheckedUpdate) -> None:
        """Writes one site's update away."""
        from safetensors.numpy import save_file

        save_file(dict(update.arrays), self._path(site))
        self._facts[site] = update.weight, update.norm, tuple(update.arrays)

    def take(self, site: str) -> CheckedUpdate:
        """Returns what :meth:`put` was given, bit for bit."""
        from safetensors.numpy import load_file

        weight, norm, names = self._facts[site]
        arrays: Arrays = load_file(self._path(site))
        return CheckedUpdate(arrays={name: arrays[name] for name in names}, weight=weight, norm=norm)

    def close(self) -> None:
        """Removes what is on the disk."""
        self._folder.cleanup()

    def _path(self, site: str) -> Path:
        return Path(self._folder.name) / f"{site}.safetensors"
