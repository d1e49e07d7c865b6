"""``python -m simulations.analysis.selection_cost``: what choosing settings privately would cost in epsilon.

A private selection makes a secret random number of complete private runs and shows only the best (Papernot and Steinke
2022, theorems 2 and 6). The table needs dp-accounting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

STEPS, DELTA = 30, 1 / 600
EPSILONS = (1.0, 3.0, 8.0)
WAYS: Sequence[tuple[str, int, float]] = (
    ("best of 10, Poisson", 10, math.inf),
    ("best of about 10, geometric", 10, 1.0),
    ("best of about 10, logarithmic", 10, 0.0),
    ("best of about 100, logarithmic", 100, 0.0),
)
"""Each with the mean number of runs and the shape of its distribution."""
HEADER = ("one run", *(name for name, _, _ in WAYS), "10 runs, all shown")


def costs(epsilon: float) -> tuple[float, ...]:
    """Returns the epsilon of each way, and of ten runs that are all shown, when one run has ``epsilon``.

    One run is 30 full-batch Gaussian steps at delta 1/600, accounted by Renyi differential privacy.
    """
    from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
    from dp_accounting.dp_event import RepeatAndSelectDpEvent
    from opacus.accountants.utils import get_noise_multiplier

    noise = get_noise_multiplier(
        target_epsilon=epsilon, target_delta=DELTA, sample_rate=1.0, steps=STEPS, accountant="rdp"
    )
    run = SelfComposedDpEvent(GaussianDpEvent(noise), STEPS)
    selected = [_epsilon(RepeatAndSelectDpEvent(run, mean, shape)) for _, mean, shape in WAYS]
    return (*selected, _epsilon(SelfComposedDpEvent(run, 10)))


def _epsilon(event: object) -> float:
    from dp_accounting.rdp import RdpAccountant

    return float(RdpAccountant().compose(event).get_epsilon(DELTA))


def main() -> None:
    """Prints the table as Markdown."""
    print(f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}", sep="\n")
    for epsilon in EPSILONS:
        print(f"| {epsilon:g} | {' | '.join(f'{value:.1f}' for value in costs(epsilon))} |")


if __name__ == "__main__":
    main()
