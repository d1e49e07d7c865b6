"""Noise that the sites of a secure sum make together: how much each adds, and what that guarantees against whom.

The hub sees a sum only. With ``t`` sites on its side it can take off what these added, so the shares of the other
``h = K - t`` must be the whole noise. Each site adds variance ``total^2 / h``, and a roster of which all must send has
no excess (Dwork et al. 2006, "Our data, ourselves"; for rounded and discrete Gaussians Kairouz, Liu and Steinke 2021,
whose distance from one Gaussian is below 10^-100 at shares of thousands of grid steps).

A site may assume more colluders than the study does. The others still share by the study's number, so it adds alone
what their shares then lack: ``total^2 (1 + t - t_study) / (K - t_study)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.config.study import StudyConfig
from common.errors import ConfigError
from common.privacy.discrete import MAX_SCALE
from common.privacy.noise import ARITHMETIC, MAX_VALUES, draw_steps
from common.privacy.plan import PrivacyPlan
from common.privacy.statistics import UNIT, sensitivities
from common.privacy.stream import SecretStream

FRACTION_BITS = 32
GRID = 2.0**-FRACTION_BITS
"""Step of the grid on which updates add: :data:`common.protocol.aggregation.FRACTION_BITS`."""
LEAST_HONEST = 2
"""Fewest sites whose shares make the noise: with one it would be local noise."""
LEAST_STD = 1 << 12
"""Smallest share in grid steps, far above where a sum of discrete Gaussians differs from one Gaussian."""
HEADROOM = 2.0 ** (61 - FRACTION_BITS)
"""Largest sum, in units, that stays far from the modulus 2^64."""
LARGEST_STEPS = 2.0**61
"""Where a site's own sum ends, in steps of the grid, on both sides; a clip moves no two sums further apart. Only a
cohort many times as large as all declared ones together comes so far."""
TAIL = 40.0
"""Deviations that noise does not pass."""
MOST_PATIENTS = 2
"""An honest cohort has at most this many times the patients it declares (``oncofed-site doctor`` says so)."""


def check_honest(roster: int, colluders: int) -> int:
    """Returns how many sites of a roster do not collude.

    Raises:
        ConfigError: Fewer than two: one site's share would be all of the noise.
    """
    if roster - colluders < LEAST_HONEST:
        raise ConfigError(
            f"{roster} sites of which {colluders} may collude leave {max(0, roster - colluders)} to share the noise; "
            f"expected at least {LEAST_HONEST}. Win more sites, or use privacy.mode=local"
        )
    return roster - colluders


def weight_of(study: StudyConfig, patients: int) -> int:
    """Returns a site's public weight in the mean."""
    return patients if study.strategy.weighting == "declared" else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseShare:
    """What one site adds to the secure sum of one step.

    Guarantee: towards the hub and ``colluders`` sites, a release of the sum is the Gaussian mechanism with noise
    multiplier ``total_std / sensitivity`` or more; towards everybody else together, with ``own_multiplier``.

    Attributes:
        factor: What the site's clipped sum is multiplied by: for DP-SGD minus the learning rate times weight over the
            expected batch.
        sensitivity: How far one of the site's patients moves the sum, L2, rounding included.
        total_std: Noise of all sites that do not collude, standard deviation on each value, at least.
        std_steps: Standard deviation of this site's share, in steps of the grid.
        roster: Sites of the sum; ``colluders``: how many of them this site assumes to side with the hub.
    """

    factor: float
    sensitivity: float
    total_std: float
    std_steps: int
    roster: int
    colluders: int

    def __post_init__(self) -> None:
        if not LEAST_STD <= self.std_steps <= MAX_SCALE:
            raise ConfigError(
                f"A share of the noise would have {self.std_steps} steps of the grid; expected {LEAST_STD} to "
                f"{MAX_SCALE}. Choose another training.lr or privacy.epsilon"
            )

    @property
    def own_multiplier(self) -> float:
        """Returns the noise multiplier that is left when all other sites collude with the hub."""
        return self.std_steps * GRID / self.sensitivity

    def noisy(self, clipped_sum: NDArray[np.float64], stream: SecretStream) -> NDArray[np.int64]:
        """Returns the site's part of the sum, int64 (D,) steps of the grid: sum times factor, plus its share.

        Raises:
            ConfigError: There are more values than the sensitivity allows for.
        """
        if len(clipped_sum) > MAX_VALUES:
            raise ConfigError(f"Expected at most {MAX_VALUES} values in a private step, got {len(clipped_sum)}")
        steps = np.rint(clipped_sum * (self.factor / GRID))
        found = np.clip(steps, -LARGEST_STEPS, LARGEST_STEPS).astype(np.int64)
        done = 0
        for block in draw_steps(len(found), self.std_steps, stream):
            found[done : done + len(block)] += block.astype(np.int64)
            done += len(block)
        return found


def noise_share(study: StudyConfig, sizes: Sequence[int], own: int, colluders: int, round_index: int = 1) -> NoiseShare:
    """Returns the share of a site with ``own`` declared patients.

    The whole noise is the largest that any site of the roster needs for the study's epsilon, so it follows from the
    study and the declared sizes alone, and each site finds the same.

    Args:
        study: With ``privacy.mode=distributed``.
        sizes: Declared patients of every site in the roster, ``own`` among them.
        own: Those of the site that adds the share.
        colluders: How many sites this one assumes to collude; the study's number at least.
        round_index: From 1; sums of the statistics training differ by round, steps of DP-SGD do not.

    Raises:
        ConfigError: Too few sites are left to share the noise, or the numbers leave the grid.
    """
    agreed = study.privacy.colluders
    if own not in sizes:
        raise ValueError("Expected the site's own size in the roster")
    total = max(_needed(study, size, round_index) for size in set(sizes))
    _check_range(study, sizes, total, round_index)
    factor, sensitivity = reach(study, own, round_index)
    return share_of(total, factor, sensitivity, roster=len(sizes), agreed=agreed, colluders=colluders)


def share_of(
    total: float, factor: float, sensitivity: float, *, roster: int, agreed: int, colluders: int
) -> NoiseShare:
    """Returns a site's share of a whole noise of standard deviation ``total``, whatever the sum is of.

    Args:
        total: Noise that all sites without the colluders must make together, in the sum's unit; the same at each site.
        factor: What the site's clipped sum is multiplied by.
        sensitivity: How far one of its patients moves the sum, rounding to the grid included.
        roster: Sites of the sum.
        agreed: Colluders that the study assumes, by which all others share.
        colluders: Those that this site assumes, ``agreed`` at least.

    Raises:
        ConfigError: Too few sites are left to share the noise, or the share leaves the grid.
    """
    check_honest(roster, colluders)
    if colluders < agreed:
        raise ValueError(f"Expected at least the study's {agreed} colluders, got {colluders}")
    variance = total**2 * (1 + colluders - agreed) / (roster - agreed)
    return NoiseShare(
        factor=factor, sensitivity=sensitivity, total_std=total, std_steps=math.ceil(math.sqrt(variance) / GRID),
        roster=roster, colluders=colluders,
    )  # fmt: skip


def own_multiplier(plan: PrivacyPlan, colluders: int, sites: int) -> float:
    """Returns the least noise multiplier of a site's own share among so many sites."""
    return plan.noise_multiplier / math.sqrt(sites - colluders)


def reach(study: StudyConfig, patients: int, round_index: int = 1) -> tuple[float, float]:
    """Returns what a site's clipped sum is multiplied by, and how far one patient moves the sum (L2).

    Each of two neighbouring sums moves by at most half a step in each value when it is rounded. A step of DP-SGD goes
    against the gradient; a sum of the statistics training travels as it is, over :data:`UNIT`.
    """
    if study.training.method == "statistics":
        moved = sensitivities(study.training.rounds, study.training.statistics.residual)[round_index - 1]
        return 1 / UNIT, moved * (1 + ARITHMETIC) / UNIT + math.sqrt(MAX_VALUES) * GRID
    batch = min(study.training.batch_patients, patients)
    factor = study.training.lr * weight_of(study, patients) / batch
    return -factor, factor * study.privacy.clip_norm * (1 + ARITHMETIC) + math.sqrt(MAX_VALUES) * GRID


def _needed(study: StudyConfig, patients: int, round_index: int) -> float:
    """Returns the noise that protects the patients of a site of this size, standard deviation in the sum's unit."""
    plan = PrivacyPlan.for_site(study.privacy, study.training, patients)
    return plan.noise_multiplier * reach(study, patients, round_index)[1]


def _check_range(study: StudyConfig, sizes: Sequence[int], total: float, round_index: int) -> None:
    signal = sum(reach(study, size, round_index)[1] * MOST_PATIENTS * size for size in sizes)
    if not signal + TAIL * total * math.sqrt(len(sizes)) < HEADROOM:
        raise ConfigError(f"The sum of {len(sizes)} sites could leave the range of its integers; lower training.lr")
