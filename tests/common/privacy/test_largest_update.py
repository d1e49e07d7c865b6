"""The bound on an honest update: never below what training makes, and no looser than it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.study import StrategyConfig, TrainingConfig
from common.privacy.accounting import solve_noise_multiplier
from common.privacy.largest_update import RoundPlan, largest_update_norm, noise_ceiling


@pytest.mark.parametrize("epsilon", [0.5, 3.0, 8.0])
@pytest.mark.parametrize(("rate", "steps"), [(0.05, 200), (0.3, 40), (1.0, 10)])
def test_the_noise_ceiling_is_above_what_the_accountants_ask_for_and_close_to_it(
    epsilon: float, rate: float, steps: int
) -> None:
    ceiling = noise_ceiling(epsilon, 1e-5, rate, steps)
    needed = solve_noise_multiplier(epsilon=epsilon, delta=1e-5, sampling_rate=rate, steps=steps, accountant="rdp")
    assert needed <= ceiling <= 1.2 * needed


def _plan(steps: int, batch: float = 20.0, noise: float = 1.0, parameters: int = 500) -> RoundPlan:
    return RoundPlan(steps=steps, batch=batch, clip_norm=1.0, noise=noise, parameters=parameters)


@settings(deadline=None, max_examples=60)
@given(
    steps=st.integers(1, 30),
    momentum=st.floats(0, 0.95),
    decay=st.floats(0, 0.5),
    pull=st.floats(0, 0.5),
    lr=st.floats(0.01, 1.0),
    noise=st.floats(0.1, 5.0),
    seed=st.integers(0, 10**6),
)
def test_no_honest_round_of_sgd_is_longer(
    steps: int, momentum: float, decay: float, pull: float, lr: float, noise: float, seed: int
) -> None:
    """All patients pull the same way, and twice as many as declared take part in each step: the worst honest round."""
    rng = np.random.default_rng(seed)
    plan = _plan(steps, noise=noise)
    training = TrainingConfig(optimizer="sgd", lr=lr, momentum=momentum, weight_decay=decay)
    way = rng.standard_normal(plan.parameters)
    way /= np.linalg.norm(way)
    start = rng.standard_normal(plan.parameters)
    weights, velocity = start.copy(), np.zeros(plan.parameters)
    for _ in range(steps):
        total = way * 2 * plan.batch + noise * rng.standard_normal(plan.parameters)
        gradient = total / plan.batch + pull * (weights - start) + decay * weights
        velocity = momentum * velocity + gradient
        weights = weights - lr * velocity
    limit = largest_update_norm(plan, training, StrategyConfig(proximal_mu=pull), float(np.linalg.norm(start)))
    assert np.linalg.norm(weights - start) <= limit


@settings(deadline=None, max_examples=40)
@given(steps=st.integers(1, 60), scale=st.lists(st.floats(-1e4, 1e4), min_size=60, max_size=60))
def test_no_round_of_adam_is_longer_whatever_its_gradients(steps: int, scale: list[float]) -> None:
    import torch

    weights = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([weights], lr=0.01)
    for step in range(steps):
        weights.grad = torch.full((3,), scale[step])
        optimizer.step()
    training = TrainingConfig(optimizer="adam", lr=0.01)
    limit = largest_update_norm(_plan(steps, parameters=3), training, StrategyConfig(), 0.0)
    assert float(weights.detach().norm()) <= limit


def test_an_unstable_study_has_no_bound() -> None:
    training = TrainingConfig(optimizer="sgd", lr=10.0, weight_decay=1.0)
    assert largest_update_norm(_plan(5), training, StrategyConfig(), 1.0) == math.inf
