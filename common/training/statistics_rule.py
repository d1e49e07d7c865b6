"""The public rule: which axes, weights and releases suit a study, from what everybody knows of it.

It reads epsilon, delta, rounds, and the number of patients and sites that the consortium expects, and no private
value, so that sites and hub find the same. What the study writes itself holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from common.config.study import StudyConfig
from common.models.statistics_head import HeadSettings
from common.privacy.analytic_gaussian import largest_mu
from common.privacy.statistics import SPREAD_SENSITIVITY

USUAL_DELTA = 1e-5
MUCH, ENOUGH = 500.0, 150.0
"""Signals from which on many axes suit, and from which on some do (docs/statistics.md)."""
STEP = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the rule chose.

    Attributes:
        axes: Public axes.
        spread_axes: Leading ones with a private centre and spread.
        gamma: Power of the public variances that weighs them.
        release: What the rounds after the first release.
        step: Length of a logistic step.
    """

    axes: int
    spread_axes: int
    gamma: float
    release: Literal["steps", "moment"]
    step: float


def signal(study: StudyConfig) -> float:
    """Returns patients over the noise of all sites together: patients * mu / :func:`noises`; infinity without privacy.

    mu is that of the study's whole budget.
    """
    statistics, privacy = study.training.statistics, study.privacy
    if not privacy.private:
        return math.inf
    return statistics.patients * largest_mu(privacy.epsilon, _delta(study)) / noises(study)


def noises(study: StudyConfig) -> float:
    """Returns the deviation of the noise in the sum over the sites, over that of one site's local noise.

    sqrt(K) where each of K sites adds its own, sqrt(K / (K - t)) where they share it against t colluders.
    """
    sites = study.training.statistics.sites
    sharing = max(1, sites - study.privacy.colluders) if study.privacy.distributed else 1
    return math.sqrt(sites / sharing)


def by_rule(strength: float) -> Choice:
    """Returns the choice for a signal: many axes where it is strong, few where it is weak, logistic steps always."""
    if strength >= MUCH:
        return Choice(axes=192, spread_axes=64, gamma=0.75, release="steps", step=STEP)
    if strength >= ENOUGH:
        return Choice(axes=64, spread_axes=16, gamma=0.75, release="steps", step=STEP)
    return Choice(axes=8, spread_axes=8, gamma=0.5, release="steps", step=STEP)


def settled(study: StudyConfig) -> Choice:
    """Returns what the study says, and what the rule says where the study leaves it open."""
    own, rule = study.training.statistics, by_rule(signal(study))
    return Choice(
        axes=own.axes or rule.axes,
        spread_axes=own.spread_axes or rule.spread_axes,
        gamma=rule.gamma if own.gamma is None else own.gamma,
        release=rule.release if own.release == "auto" else own.release,
        step=rule.step if own.step is None else own.step,
    )


def head_settings(study: StudyConfig, basis_axes: int) -> HeadSettings:
    """Returns the constants of the study's head on a public basis of so many axes."""
    chosen, own = settled(study), study.training.statistics
    axes = min(chosen.axes, basis_axes)
    return HeadSettings(
        axes=axes, spread_axes=min(chosen.spread_axes, axes), gamma=chosen.gamma, scale=own.scale, step=chosen.step,
        noise=_mean_noise(study), prior=study.model.prior,
    )  # fmt: skip


def _mean_noise(study: StudyConfig) -> float:
    """Deviation of the noise on the expected sites' mean spread sum, to four digits: the same on every machine."""
    if not study.privacy.private:
        return 0.0
    multiplier = math.sqrt(study.training.rounds) / largest_mu(study.privacy.epsilon, _delta(study))
    return float(f"{SPREAD_SENSITIVITY * multiplier * noises(study) / study.training.statistics.sites:.4g}")


def _delta(study: StudyConfig) -> float:
    return USUAL_DELTA if study.privacy.delta is None else study.privacy.delta


def coefficients(release: Literal["steps", "moment"], rounds: int, round_index: int) -> tuple[float, float]:
    """Returns what a round's residual sum is multiplied by in ``weight`` and in ``average``; ``round_index`` from 2.

    Steps are halved after the first half, and ``average`` ends as the mean of the weights after each step of the
    second half: a sum enters all of these means that come after it. Moments are averaged over all rounds.
    """
    steps, step = rounds - 1, round_index - 1
    if release == "moment":
        return 1 / steps, 1 / steps
    length, tail = (1.0 if step <= steps // 2 else 0.5), steps - steps // 2
    return length, length * min(tail, steps - step + 1) / tail
