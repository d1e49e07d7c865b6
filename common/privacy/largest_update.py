"""How far the weights of an honest site can move in one private round: a bound from the public plan alone.

One step of DP-SGD adds a sum of clipped gradients and a Gaussian vector, both of which have tails that are known
before any patient is (Abadi et al. 2016, algorithm 1). A hub that scales a longer update down to the bound touches an
honest one with a probability of at most 2e-9 a round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from common.config.study import StrategyConfig, StudyConfig, TrainingConfig
from common.privacy.accounting import default_delta
from common.privacy.plan import round_shape
from common.privacy.shares import MOST_PATIENTS, noise_share, weight_of

LOG_TAIL = math.log(1e9)
"""-log of the probability with which each of two random sizes may pass its bound."""
ADAM_COORDINATE = 3.2
"""Adam moves a coordinate by at most lr * (1 - beta1) / sqrt(1 - beta2) a step (Kingma and Ba 2015, section 2.1)."""
_ORDERS = [*range(2, 33), 40, 48, 64, 96, 128, 256]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """What of a round is public.

    Attributes:
        steps: Optimizer steps.
        batch: Expected patients a step, the divisor of each sum.
        clip_norm: L2 bound of one patient's gradient.
        noise: Standard deviation of the noise on each coordinate of a sum, at most.
        parameters: Coordinates that are trained.
    """

    steps: int
    batch: float
    clip_norm: float
    noise: float
    parameters: int


def round_plan(study: StudyConfig, declared_patients: int, parameters: int) -> RoundPlan:
    """Returns the public side of a private round at a site of this declared size; its noise is bounded, not solved."""
    training, privacy = study.training, study.privacy
    rate, steps = round_shape(training, declared_patients)
    delta = privacy.delta if privacy.delta is not None else default_delta(declared_patients)
    multiplier = noise_ceiling(privacy.epsilon, delta, rate, steps * training.rounds)
    return RoundPlan(
        steps=steps, batch=rate * declared_patients, clip_norm=privacy.clip_norm,
        noise=multiplier * privacy.clip_norm, parameters=parameters,
    )  # fmt: skip


def noise_ceiling(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Returns a noise multiplier that is at least what our accountants ask for, and up to a fifth more.

    RDP at whole orders (Mironov et al. 2019, section 3.3; to epsilon by Canonne et al. 2020, proposition 12) is an
    upper bound that takes milliseconds.
    """
    from opacus.accountants.analysis import rdp

    def cost(sigma: float) -> float:
        spent = rdp.compute_rdp(q=rate, noise_multiplier=sigma, steps=steps, orders=_ORDERS)
        terms = zip(spent, _ORDERS, strict=True)
        return float(min(r + math.log1p(-1 / a) - math.log(delta * a) / (a - 1) for r, a in terms))

    high = 0.5
    while cost(high) > epsilon and high < 1e5:
        high *= 1.3
    low = high / 1.3
    for _ in range(4):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) > epsilon else (low, middle)
    return high * 1.01


def largest_update_norm(
    plan: RoundPlan, training: TrainingConfig, strategy: StrategyConfig, start_norm: float
) -> float:
    """Returns the largest L2 norm of an honest site's update in one round.

    For SGD with momentum m the update is a sum of step gradients with weights of at most lr / (1 - m), also with a
    pull to the start (FedProx) or to zero (weight decay) as long as the steps are stable.

    Args:
        plan: The public side of the round.
        training: Optimizer, learning rate, momentum, weight decay.
        strategy: FedProx' pull.
        start_norm: L2 norm of the weights that the round starts from.

    Returns:
        The norm; infinity where the study's own steps are unstable, lr * (weight decay + mu) > 2 (1 + m).
    """
    if training.optimizer == "adam":
        return ADAM_COORDINATE * training.lr * plan.steps * math.sqrt(plan.parameters)
    if training.lr * (training.weight_decay + strategy.proximal_mu) > 2 * (1 + training.momentum):
        return math.inf
    signal = plan.clip_norm * _most_drawn(MOST_PATIENTS * plan.batch * plan.steps) / plan.batch
    noise = plan.noise * math.sqrt(plan.steps) * (math.sqrt(plan.parameters) + math.sqrt(2 * LOG_TAIL)) / plan.batch
    decay = training.weight_decay * plan.steps * start_norm
    return training.lr / (1 - training.momentum) * (signal + noise + decay)


def largest_sum_norm(study: StudyConfig, sizes: Sequence[int], parameters: int) -> float:
    """Returns the largest L2 norm of the mean update that a secure sum of honest sites can show.

    One step a site, its noise at most what local noise would be: a site adds more than its share where it assumes more
    colluders than the study does, and never more than all of it.

    Args:
        study: With ``privacy.mode=distributed``.
        sizes: Declared patients of each site of the roster.
        parameters: Coordinates that are trained.
    """
    share = noise_share(study, sizes, sizes[0], study.privacy.colluders)
    signal = 0.0
    for size in sizes:
        batch = min(study.training.batch_patients, size)
        factor = study.training.lr * weight_of(study, size) / batch
        signal += factor * study.privacy.clip_norm * _most_drawn(MOST_PATIENTS * batch)
    noise = share.total_std * math.sqrt(len(sizes)) * (math.sqrt(parameters) + math.sqrt(2 * LOG_TAIL))
    return (signal + noise) / sum(weight_of(study, size) for size in sizes)


def _most_drawn(expected: float) -> float:
    """Returns how many patients are drawn at most (Bernstein; Boucheron et al. 2013, corollary 2.11)."""
    return expected + LOG_TAIL / 3 + math.sqrt(LOG_TAIL**2 / 9 + 2 * LOG_TAIL * expected)
