"""What ``evaluation.noise`` costs: the error that noised counts add to one site's AUROC, beside that of few patients.

``python -m simulations.analysis.evaluation_noise`` prints Markdown. Scores are made up: two normal classes with an
AUROC of 0.85, seen through a sigmoid as wide as a confident model's or as narrow as that of a timid one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.evaluation.metrics import auroc
from common.evaluation.noised import noised_state
from common.evaluation.scores import DEFAULT_BINS, ScoreState
from common.privacy.discrete import discrete_gaussian
from common.privacy.evaluation_account import epsilon_of_rho, rho_of
from common.privacy.randomness import Randomness

AREA_SHIFT = 1.4657
"""Distance of two unit normals whose AUROC is 0.85."""
MALIGNANT = 0.4
WIDTHS = {"confident": 1.5, "timid": 0.2}
"""Standard deviation of a class in log-odds."""
DELTA = 1e-5


def table(patients: Iterable[int], noises: Iterable[int], validations: int, draws: int = 400) -> list[dict[str, Any]]:
    """Returns a row for each size of a split and noise: epsilons, and the root mean square errors of the AUROC.

    Args:
        patients: Of one split of one site.
        noises: Standard deviations of the noise on each count.
        validations: Releases over which the second epsilon is composed: rounds of a study.
        draws: Samples a row; with both classes in them.
    """
    sizes = {count: {name: _samples(count, width, draws) for name, width in WIDTHS.items()} for count in patients}
    return [_row(count, noise, validations, sizes[count]) for count in sizes for noise in noises]


def _row(count: int, noise: int, validations: int, samples: dict[str, list[Sample]]) -> dict[str, Any]:
    stream = Randomness.from_seed(0, "evaluation-noise", count, noise).noise

    def added(sample: Sample) -> float:
        state = noised_state(*sample, DEFAULT_BINS, lambda size: discrete_gaussian(size, noise, stream))
        told = auroc(state)
        return (0.5 if told is None else told) - _exact(sample)

    row = {"patients": count, "noise": noise, "epsilon of one": epsilon_of_rho(rho_of(noise), DELTA),
           f"epsilon of {validations}": epsilon_of_rho(validations * rho_of(noise), DELTA)}  # fmt: skip
    for name, of_width in samples.items():
        errors = np.array([added(sample) for sample in of_width])
        row |= {f"shift, {name}": errors.mean(), f"error, {name}": np.sqrt((errors**2).mean())}
    spread = np.std([_exact(sample) for sample in samples["confident"]])
    return row | {"error of so few patients": spread}


Sample = tuple[NDArray[np.float64], NDArray[np.int64]]


def _exact(sample: Sample) -> float:
    area = auroc(ScoreState.of(*sample))
    assert area is not None  # both classes are in every sample
    return area


def _samples(count: int, width: float, draws: int) -> list[Sample]:
    generator = np.random.default_rng(count)
    labels = (np.arange(count) < round(MALIGNANT * count)).astype(np.int64)
    positions = generator.normal(size=(draws, count)) + labels * AREA_SHIFT
    return [(1 / (1 + np.exp(2 - width * row)), labels) for row in positions]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown table with three digits."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join(lines + ["| " + " | ".join(f"{value:.3g}" for value in row.values()) + " |" for row in rows])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--noise", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=10)
    chosen = parser.parse_args()
    print(markdown(table(chosen.patients, chosen.noise, chosen.rounds)))


if __name__ == "__main__":
    main()
