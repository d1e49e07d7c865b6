"""Which consortia are tried, and what was found of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from client.site.joining import Measured
from common.config.study import StudyConfig
from simulations.analysis.joining.consortium import Gain, divide, gains, homes
from simulations.analysis.joining.embedding import Embedded

EPSILONS = (1.0, 3.0, 8.0)
Mode = Literal["local", "distributed"]
MODES: tuple[Mode, ...] = ("distributed", "local")
BAND = (0.05, 0.95)
LOSS = 0.01
"""How much AUROC a hospital must lose to be counted as one that lost."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Data on which consortia are emulated.

    Attributes:
        name: As in ``data.name``; ``title``: for people.
        overrides: Of a study of the statistics training on them.
        root: Path below the folder of data sets; empty for data that need no file.
        sizes: Training patients of each hospital; ``sites``: how many hospitals.
        least_test: Divisions that leave fewer patients for the test are not made.
    """

    name: str
    title: str
    overrides: Sequence[str]
    root: str
    sizes: Sequence[int]
    sites: Sequence[int]
    least_test: int


SOURCES = (
    Source(
        name="bus_bra", title="BUS-BRA, breast ultrasound, hospitals alike",
        overrides=("experiment=statistics_busbra", "data.image_size=128"),
        root="bus-bra/BUSBRA",
        sizes=(20, 40, 80, 160), sites=(3, 6, 12, 24), least_test=210,
    ),
    Source(
        name="phantom", title="Phantom, synthetic ultrasound, hospitals alike",
        overrides=("experiment=statistics", "data.patients=7500"),
        root="",
        sizes=(20, 50, 100, 200), sites=(3, 8, 15, 30), least_test=1000,
    ),
)  # fmt: skip


def measured(
    source: Source, patients: Embedded, study: StudyConfig, divisions: int, tell: Callable[[str], None]
) -> Iterator[Measured]:
    """Yields the cells of one source; ``divisions`` of each size, two at least."""
    pairs = [(size, sites) for size in source.sizes for sites in source.sites]
    for size, sites in pairs:
        if patients.data.num_patients - size * sites < source.least_test:
            continue
        tell(f"{source.name}: {sites} hospitals of {size} patients")
        found: dict[tuple[Mode, float], list[list[Gain]]] = {}
        for seed in range(divisions):
            division = divide(patients, sites, size, source.least_test, seed)
            made = homes(patients, division, study, seed)
            for mode in MODES:
                for epsilon in EPSILONS:
                    one = list(gains(patients, division, asked(study, size, sites, epsilon, mode), made, seed))
                    found.setdefault((mode, epsilon), []).append(one)
        for (mode, epsilon), rows in found.items():
            yield _cell(size, sites, epsilon, mode, rows)


def asked(study: StudyConfig, size: int, sites: int, epsilon: float, mode: Mode) -> StudyConfig:
    """Returns the study as a consortium of this size would agree on it."""
    statistics = dataclasses.replace(study.training.statistics, patients=size * sites, sites=sites)
    return dataclasses.replace(
        study,
        privacy=dataclasses.replace(study.privacy, epsilon=epsilon, mode=mode),
        training=dataclasses.replace(study.training, statistics=statistics),
    )


def _cell(size: int, sites: int, epsilon: float, mode: Mode, divisions: list[list[Gain]]) -> Measured:
    rows = [row for division in divisions for row in division]

    def mean(name: str) -> float:
        return _rounded(np.mean([getattr(row, name) for row in rows]))

    gained = np.array([row.both - row.home for row in rows])
    means = np.array([np.mean([row.both - row.home for row in division]) for division in divisions])
    low, high = np.quantile(gained, BAND)
    return Measured(
        patients=size, sites=sites, epsilon=epsilon, mode=mode, hospitals=len(rows), divisions=len(divisions),
        public=mean("public"), home=mean("home"), federated=mean("federated"), both=mean("both"),
        gain=_rounded(gained.mean()), low=_rounded(low), high=_rounded(high),
        error=_rounded(means.std(ddof=1) / np.sqrt(len(means))), lost=_rounded((gained < -LOSS).mean()),
    )  # fmt: skip


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 4)
