"""What events cost: epsilon of a history, and the noise that a target allows.

The accountants are Opacus' own: RDP (Mironov et al. 2019) and PRV (Gopi et al. 2021, an upper bound). Its GDP
accountant is an approximation from below and is never used. Where everybody takes part in each step (sampling rate 1),
the tight accountant, ``prv``, is the exact one of Gaussian mechanisms (:mod:`common.privacy.analytic_gaussian`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NoReturn, get_args

import numpy as np

from common.errors import ConfigError
from common.privacy.analytic_gaussian import epsilon_of_mu, largest_mu, mu_of
from common.privacy.kept_noise import kept_or_solved
from common.privacy.least_noise import MAX_NOISE, least_noise

Accountant = Literal["prv", "rdp"]
ORDERS = [1 + x / 10 for x in range(1, 100)] + [*range(12, 64), 128, 256, 512, 1024, 2048]
"""Opacus' own RDP orders, and larger ones that small epsilons need."""
WHOLE_ORDERS = [*range(2, 64), 128, 256, 512, 1024, 2048]
"""Orders whose RDP is a finite sum, so far cheaper than that of a fraction: enough to know where PRV's noise lies."""


@dataclass(frozen=True, slots=True)
class Event:
    """``steps`` Poisson-sampled Gaussian mechanisms with one noise multiplier and one sampling rate.

    The unit is the patient and neighbours differ by adding or removing one; noise has standard deviation
    ``noise_multiplier`` times the clipping norm.
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int

    def __post_init__(self) -> None:
        if not 0 < self.noise_multiplier < float("inf"):
            raise ValueError(f"Expected a finite noise_multiplier > 0, got {self.noise_multiplier}")
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(f"Expected 0 < sampling_rate <= 1, got {self.sampling_rate}")
        if self.steps < 1:
            raise ValueError(f"Expected steps >= 1, got {self.steps}")


def merge(events: Sequence[Event]) -> tuple[Event, ...]:
    """Returns an equivalent, sorted history in which equal mechanisms are one event."""
    steps: dict[tuple[float, float], int] = {}
    for event in events:
        key = (event.noise_multiplier, event.sampling_rate)
        steps[key] = steps.get(key, 0) + event.steps
    return tuple(Event(sigma, rate, count) for (sigma, rate), count in sorted(steps.items()))


def epsilon_of(events: Sequence[Event], delta: float, accountant: str = "prv") -> float:
    """Returns the epsilon of all ``events`` together at ``delta``; 0.0 for no event.

    Raises:
        ConfigError: The accountant is unknown, or delta is not in (0, 1).
    """
    if not 0 < delta < 1:
        raise ConfigError(f"delta={delta} is not a probability; expected 0 < delta < 1")
    if is_exact(events, accountant):
        return epsilon_of_mu(mu_of((event.noise_multiplier, event.steps) for event in events), delta)
    return _epsilon(merge(events), delta, accountant)


def is_exact(events: Sequence[Event], accountant: str) -> bool:
    """Returns whether the epsilon of these events is exact: the tight accountant, and no step that samples."""
    return accountant == "prv" and bool(events) and all(event.sampling_rate == 1 for event in events)


@lru_cache(maxsize=4096)
def _epsilon(events: tuple[Event, ...], delta: float, accountant: str) -> float:
    if accountant not in get_args(Accountant):
        raise ConfigError(f"accountant={accountant!r} is unknown; choose prv or rdp")
    if not events:  # Opacus takes two seconds to import
        return 0.0
    from opacus.accountants import PRVAccountant, RDPAccountant

    _remember_orders()
    account = {"prv": PRVAccountant, "rdp": RDPAccountant}[accountant]()
    account.history = [(e.noise_multiplier, e.sampling_rate, e.steps) for e in events]
    orders = {"alphas": ORDERS} if accountant == "rdp" else {}
    # PRV takes log(1 - q), rightly -inf at q = 1, and asks RDP, with few orders, only for the size of its grid.
    with np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the")
        return float(account.get_epsilon(delta, **orders))


@lru_cache(maxsize=1)
def _remember_orders() -> None:
    """Lets Opacus keep the RDP of one step at one order, which it computes anew for every number of steps.

    It is a pure function, and most of the time of PRV: a charge is then seven times cheaper, to the same digit.
    """
    from opacus.accountants.analysis import rdp

    rdp._compute_rdp = lru_cache(maxsize=65_536)(rdp._compute_rdp)


@lru_cache(maxsize=1024)
def solve_noise_multiplier(
    *, epsilon: float, delta: float, sampling_rate: float, steps: int, accountant: str = "prv"
) -> float:
    """Returns the least noise multiplier, to 0.1 %, whose ``steps`` steps stay at or below ``epsilon``.

    Raises:
        ConfigError: No noise up to 10,000 is enough.
    """
    if accountant == "prv" and sampling_rate == 1:
        return _exact_noise(epsilon, delta, steps)

    def cost(sigma: float) -> float:
        return epsilon_of([Event(sigma, sampling_rate, steps)], delta, accountant)

    def solve() -> float:
        # PRV needs a few percent less noise than RDP, whose answer brackets it; far below that PRV is slow.
        start, step = 0.3, 1.5
        if accountant == "prv":
            start, step = 0.88 * _noise_by_whole_orders(epsilon, delta, sampling_rate, steps), 1.1
        return least_noise(cost, epsilon, start, step) or _refuse(epsilon, delta, sampling_rate, steps)

    return kept_or_solved(
        epsilon, cost, solve, epsilon=epsilon, delta=delta, rate=sampling_rate, steps=steps, accountant=accountant
    )


def _noise_by_whole_orders(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Returns about RDP's noise multiplier, by its cheap orders."""
    from opacus.accountants.analysis import rdp

    def cost(sigma: float) -> float:
        spent = rdp.compute_rdp(q=rate, noise_multiplier=sigma, steps=steps, orders=WHOLE_ORDERS)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Optimal order is the")
            return float(rdp.get_privacy_spent(orders=WHOLE_ORDERS, rdp=spent, delta=delta)[0])

    return least_noise(cost, epsilon, 0.3, 1.5) or _refuse(epsilon, delta, rate, steps)


def _exact_noise(epsilon: float, delta: float, steps: int) -> float:
    mu = largest_mu(epsilon, delta)
    if math.sqrt(steps) > MAX_NOISE * mu:
        _refuse(epsilon, delta, 1.0, steps)
    return math.sqrt(steps) / mu


def _refuse(epsilon: float, delta: float, rate: float, steps: int) -> NoReturn:
    raise ConfigError(
        f"No noise reaches epsilon={epsilon} in {steps} steps at rate {rate:.3g} and delta={delta:.1e}; raise "
        "privacy.epsilon, or lower training.rounds"
    )


def default_delta(declared_patients: int) -> float:
    """Returns min(1e-5, 0.1 / declared patients)."""
    return min(1e-5, 0.1 / declared_patients)
