"""What the hub sees in noised quarters: how often a site drifts for nothing and after a change, by size and noise.

``python -m simulations.analysis.quarters`` prints Markdown. Departments and changes are those of
:mod:`simulations.analysis.drift.exams`, one exam a patient; one in 16 patients has no answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import numpy as np

from common.monitoring.hub_report import BINS, HubReport
from common.monitoring.quarters import QuarterRow, rows
from common.privacy.discrete import discrete_gaussian
from common.privacy.evaluation_account import epsilon_of_rho, rho_of
from common.privacy.monitoring_account import COUNTS, REPORTS
from common.privacy.randomness import Randomness
from common.privacy.stream import SecretStream
from simulations.analysis.drift.exams import BEFORE, CHANGES, Department, make_exams

DELTA = 1e-5
ABSTAINED = 1 / 16
SHOWN = ("nothing", "scanner", "contrast", "prevalence", "threshold")


def table(patients: Iterable[int], noises: Iterable[int], departments: int) -> list[dict[str, Any]]:
    """Returns a row for each number of patients a quarter and noise: epsilon of a year, who drifts, what is seen.

    Args:
        patients: A quarter at one site.
        noises: Standard deviations of the noise on each count.
        departments: Simulated sites for each change; their first quarter is unchanged, the second is not.
    """
    return [_row(count, noise, departments) for count in patients for noise in noises]


def _row(count: int, noise: int, departments: int) -> dict[str, Any]:
    year = epsilon_of_rho(REPORTS * rho_of(noise, COUNTS), DELTA)
    row: dict[str, Any] = {"patients": count, "noise": noise, "epsilon of a year": f"{year:.2f}"}
    for change in SHOWN:
        rng = np.random.default_rng([count, noise, SHOWN.index(change)])
        stream = Randomness.from_seed(0, change, count, noise).noise
        found = [_second(CHANGES[change], count, noise, rng, stream) for _ in range(departments)]
        row[change] = f"{np.mean([one.drifts for one in found]):.3f}"
        tested = [one for one in found if one.tests]
        if change == "nothing" and tested:
            row["sees above"], row["sees scores"] = (
                f"{np.median([one.tests[test].smallest for one in tested]):.2f}" for test in (0, 2)
            )
    return row


def _second(change: Department, count: int, noise: int, rng: np.random.Generator, stream: SecretStream) -> QuarterRow:
    first, now = (
        _report(department, count, noise, quarter, rng, stream)
        for department, quarter in ((BEFORE, "2026Q1"), (change, "2026Q2"))
    )
    return rows([first, now])[1]


def _report(
    department: Department, count: int, noise: int, quarter: str, rng: np.random.Generator, stream: SecretStream
) -> HubReport:
    exams, answered = make_exams(department, count, 0.0, rng), rng.random(count) >= ABSTAINED
    bins = np.minimum(BINS - 1, (BINS * exams.probability[answered]).astype(np.int64))
    above = int(exams.above[answered].sum())
    sides = [above, int(answered.sum()) - above, int((~answered).sum())]
    exact = np.concatenate([np.bincount(bins, minlength=BINS), sides])
    told = [int(one) for one in exact + discrete_gaussian(exact.size, noise, stream)]
    return HubReport(
        site="a site", package="a" * 64, quarter=quarter, scores=tuple(told[:BINS]), above=told[BINS],
        below=told[BINS + 1], abstained=told[BINS + 2], deviation=noise, delta=DELTA, seeded=True,
    )  # fmt: skip


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--departments", type=int, default=500)
    departments = parser.parse_args().departments
    found = table((200, 500, 1000), (4, 8, 15), departments)
    names = list(dict.fromkeys(name for row in found for name in row))
    print("| " + " | ".join(names) + " |", "|" + "---|" * len(names), sep="\n")
    for row in found:
        print("| " + " | ".join(str(row.get(name, "-")) for name in names) + " |")


if __name__ == "__main__":
    main()
