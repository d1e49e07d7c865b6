"""How often an interval holds the truth: draws of patients from known laws, judged by the code that judges a run.

``python -m simulations.analysis.coverage`` prints the table of ``docs/metrics.md``. Nominal is 95 %; with 1,000 draws
an interval that is exact shows 93.6 to 96.4 % nineteen times of twenty.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.evaluation import bootstrap
from common.evaluation.calibration import summarise_calibration
from common.evaluation.comparison import Difference, average, paired_difference
from common.evaluation.intervals import wilson
from common.evaluation.metrics import auroc_interval
from common.evaluation.scores import ScoreState
from common.evaluation.subgroups import grouped_state
from simulations.analysis.markdown import table

Floats = NDArray[np.float64]
Limits = tuple[float, float] | None
Draw = Callable[[np.random.Generator], Iterator[tuple[str, Limits, float]]]
"""One draw of patients -> for each method its limits and the truth."""
RESAMPLES = 1000
SITES = ((30, 40, 0.0), (15, 45, 0.3), (12, 12, -0.3), (8, 30, 0.6))
"""Malignant and benign patients of four sites, and how far a site's scanner shifts its scores."""


def probability(log_odds: Floats) -> Floats:
    """Returns the logistic function."""
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def labels_of(malignant: int, benign: int) -> NDArray[np.int64]:
    """Returns labels, malignant first."""
    return np.repeat([1, 0], [malignant, benign])


def distance(area: float) -> float:
    """Returns how far two unit normal laws must be apart for this AUROC."""
    return sqrt(2) * NormalDist().inv_cdf(area)


def one_site(m: int, n: int, area: float, generator: np.random.Generator) -> Iterator[tuple[str, Limits, float]]:
    """AUROC of one site: the analytic interval and the bootstrap."""
    labels = labels_of(m, n)
    state = ScoreState.of(probability(generator.normal(labels * distance(area))), labels)
    yield _analytic(state, area)
    if min(m, n) >= bootstrap.MIN_CLASS:
        yield "bootstrap", _bootstrap({"": state}, bootstrap.areas, generator), area


def pooled(area: float, generator: np.random.Generator) -> Iterator[tuple[str, Limits, float]]:
    """AUROC of the sum of four sites whose scanners shift the scores, and of a subgroup of all of them."""
    states = {str(index): _shifted(*site, area, generator) for index, site in enumerate(SITES)}
    whole = sum(states.values(), ScoreState.empty())
    truth = _mixture_area(SITES, area)
    yield _named("pooled", _analytic(whole, truth))
    yield "pooled, bootstrap", _bootstrap(states, bootstrap.areas, generator), truth
    group = {site: state.groups["scanner=a"] for site, state in states.items()}
    half = [(-(-m // 2), -(-n // 2), shift) for m, n, shift in SITES]
    truth = _mixture_area(half, area)
    yield _named("subgroup", _analytic(sum(group.values(), ScoreState.empty()), truth))
    yield "subgroup, bootstrap", _bootstrap(group, bootstrap.areas, generator), truth


def _shifted(m: int, n: int, shift: float, area: float, generator: np.random.Generator) -> ScoreState:
    labels = labels_of(m, n)
    people = [{"scanner": "ab"[place % 2]} for side in (m, n) for place in range(side)]
    scores = probability(generator.normal(labels * distance(area) + shift))
    return grouped_state(scores, labels, people, ["scanner"], bins=4096, min_cell=0)


def _mixture_area(sites: Sequence[tuple[int, int, float]], area: float) -> float:
    pairs = [(m * n, NormalDist().cdf((distance(area) + a - b) / sqrt(2))) for m, _, a in sites for _, n, b in sites]
    return sum(weight * value for weight, value in pairs) / sum(weight for weight, _ in pairs)


def paired(m: int, n: int, better: float, worse: float, rho: float, generator: np.random.Generator) -> Any:
    """Difference of two models on the same patients, their scores correlated within a class."""
    found = _paired(m, n, better, worse, rho, generator)
    yield found.method, (found.low, found.high), better - worse
    if found.bootstrap:
        yield "paired bootstrap", found.bootstrap, better - worse


def averaged(better: float, worse: float, rho: float, generator: np.random.Generator) -> Any:
    """Mean of the differences of four sites."""
    found = {
        str(index): _paired(m, n, better, worse, rho, generator, resamples=0) for index, (m, n, _) in enumerate(SITES)
    }
    mean = average(found, 0.95)
    yield "average of sites", (mean.low, mean.high) if mean else None, better - worse


def _paired(
    m: int, n: int, better: float, worse: float, rho: float, generator: np.random.Generator, resamples: int = RESAMPLES
) -> Difference:
    labels = labels_of(m, n)
    shared, own, others = generator.normal(size=(3, m + n))
    first = sqrt(rho) * shared + sqrt(1 - rho) * own + labels * distance(better)
    second = sqrt(rho) * shared + sqrt(1 - rho) * others + labels * distance(worse)
    seed = int(generator.integers(2**31))
    found = paired_difference(first, second, labels, confidence=0.95, resamples=resamples, seed=seed)
    assert found is not None
    return found


def calibrated(patients: int, generator: np.random.Generator) -> Iterator[tuple[str, Limits, float]]:
    """Brier score, calibration slope and intercept of a model that is overconfident and shifted."""
    log_odds = generator.normal(0, 1.5, patients)
    labels = (generator.random(patients) < probability(0.3 + 0.7 * log_odds)).astype(int)
    state = ScoreState.of(probability(log_odds), labels)
    found = summarise_calibration(state, 0.95)["calibration"]
    yield "slope, Wald", (found["slope"]["low"], found["slope"]["high"]), 0.7
    yield "intercept, Wald", (found["intercept"]["low"], found["intercept"]["high"]), 0.3
    yield "Brier, bootstrap", _bootstrap({"": state}, bootstrap.brier_scores(4096), generator), _true_brier()


def _true_brier() -> float:
    grid = np.linspace(-12, 12, 20_001)
    weight = np.exp(-0.5 * (grid / 1.5) ** 2)
    score, truth = probability(grid), probability(0.3 + 0.7 * grid)
    return float(weight @ (truth * (1 - score) ** 2 + (1 - truth) * score**2) / weight.sum())


def rate(total: int, truth: float, generator: np.random.Generator) -> Iterator[tuple[str, Limits, float]]:
    """A sensitivity with Wilson's interval."""
    found = wilson(int(generator.binomial(total, truth)), total)
    yield "Wilson", (found.low, found.high) if found else None, truth


def _analytic(state: ScoreState, truth: float) -> tuple[str, Limits, float]:
    interval = auroc_interval(state)
    assert interval is not None
    # A perfect draw takes Newcombe's interval where the others take DeLong's; the row is what a reader gets.
    name = "DeLong" if min(state.malignant, state.benign) >= 10 else "Newcombe"
    return name, (interval.low, interval.high), truth


def _named(what: str, row: tuple[str, Limits, float]) -> tuple[str, Limits, float]:
    return f"{what}, {row[0]}", row[1], row[2]


def _bootstrap(
    strata: Mapping[str, ScoreState], statistic: bootstrap.Statistic, generator: np.random.Generator
) -> Limits:
    (values,) = bootstrap.distribution(strata, [statistic], RESAMPLES, int(generator.integers(2**31)))
    whole = sum(strata.values(), ScoreState.empty())
    fewest = min(whole.malignant, whole.benign)
    low, high = (float(limit) for limit in bootstrap.percentiles(values, 0.95, fewest))
    return low, high


CASES: Mapping[str, Draw] = {
    "AUROC 0.8, 60 + 40": partial(one_site, 60, 40, 0.8),
    "AUROC 0.9, 30 + 90": partial(one_site, 30, 90, 0.9),
    "AUROC 0.8, 10 + 20": partial(one_site, 10, 20, 0.8),
    "AUROC 0.85, 5 + 10": partial(one_site, 5, 10, 0.85),
    "AUROC 0.8, four sites, 65 + 127": partial(pooled, 0.8),
    "difference 0.85 - 0.80, 60 + 40": partial(paired, 60, 40, 0.85, 0.8, 0.5),
    "difference 0.85 - 0.80, 20 + 40": partial(paired, 20, 40, 0.85, 0.8, 0.5),
    "difference 0.85 - 0.80, 10 + 20": partial(paired, 10, 20, 0.85, 0.8, 0.5),
    "difference 0.85 - 0.80, 5 + 10": partial(paired, 5, 10, 0.85, 0.8, 0.5),
    "difference 0.85 - 0.80, four sites": partial(averaged, 0.85, 0.8, 0.5),
    "calibration, 300": partial(calibrated, 300),
    "sensitivity 0.85, 40": partial(rate, 40, 0.85),
}


def coverage(name: str, draws: int, seed: int = 0) -> list[dict[str, Any]]:
    """Returns for each method of a case the share of draws whose interval held the truth, and its mean width."""
    generator = np.random.default_rng([seed, *name.encode()])
    held: dict[str, list[bool]] = {}
    width: dict[str, list[float]] = {}
    for _ in range(draws):
        for method, limits, truth in CASES[name](generator):
            low, high = limits or (np.nan, np.nan)
            held.setdefault(method, []).append(bool(low <= truth <= high))
            width.setdefault(method, []).append(high - low)
    return [
        {
            "case": name,
            "method": method,
            "covered": f"{np.mean(values):.3f}",
            "mean width": f"{np.nanmean(width[method]):.3f}",
        }
        for method, values in held.items()
    ]


def main() -> None:
    """Prints coverage case by case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(CASES), action="append")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="JSON instead of Markdown")
    options = parser.parse_args()
    rows = [row for name in options.only or CASES for row in coverage(name, options.draws)]
    print(json.dumps(rows) if options.json else table(rows))


if __name__ == "__main__":
    main()
