"""The coverage script judges every case with the code that judges a run; its figures stand in docs/metrics.md."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.analysis.coverage import CASES, SITES, _mixture_area, coverage, distance


@pytest.mark.parametrize("name", CASES)
def test_every_case_gives_finite_intervals(name: str) -> None:
    rows = coverage(name, 4)
    assert rows and all(row["case"] == name for row in rows)
    assert all(0 <= float(row["covered"]) <= 1 and 0 < float(row["mean width"]) < 2 for row in rows)


def test_the_truth_of_the_pooled_case_is_the_limit_of_many_patients() -> None:
    generator = np.random.default_rng(0)
    scale = 4000
    scores = {1: [], 0: []}
    for m, n, shift in SITES:
        scores[1].append(generator.normal(distance(0.8) + shift, 1, m * scale // 10))
        scores[0].append(generator.normal(shift, 1, n * scale // 10))
    malignant, benign = (np.sort(np.concatenate(scores[label])) for label in (1, 0))
    area = np.searchsorted(benign, malignant).mean() / benign.size
    assert area == pytest.approx(_mixture_area(SITES, 0.8), abs=0.006)
