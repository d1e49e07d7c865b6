"""How one public data set is dealt to emulated hospitals: by patient, each patient to exactly one.

Splits are made before, so a hospital inherits them. Each scheme deals train, val and test alike, so that a hospital's
test patients come from the same mixture as those it trains on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.data.manifest import Dataset, first
from common.errors import ConfigError, DataError

if TYPE_CHECKING:
    from common.config.study import PartitionConfig

ATTEMPTS = 500
"""Draws of a skewed scheme before it is called impossible."""

Cells = dict[tuple[str, int], list[str]]
"""(split, label) -> patients, in random order."""
Shares = NDArray[np.float64]
"""float64 (sites,), sums to 1."""


def partition(dataset: Dataset, cfg: PartitionConfig, seed: int) -> dict[str, Dataset]:
    """Returns site name -> its patients: a disjoint cover of the data set, the same for the same seed.

    - ``iid``: equal sizes, equal mixture of classes.
    - ``dirichlet``: each class is dealt by its own Dirichlet(alpha) draw over the sites (Hsu et al. 2019, section 3).
    - ``quantity``: sizes by one Dirichlet(alpha) draw, equal mixture of classes.
    - ``natural``: by ``Record.site``; ``cfg.sites`` and ``cfg.alpha`` play no part.

    Skewed draws are repeated until every site has ``cfg.min_patients`` and, if any draw allows it, both classes to
    train on. Sites are called ``site_1`` and so on, or by their natural name.

    Raises:
        ConfigError: No draw gives every site ``cfg.min_patients``, or records carry no site.
        DataError: A patient was seen at two natural sites.
    """
    if cfg.name == "natural":
        return _natural(dataset, cfg)
    total = len(dataset.patients())
    if cfg.sites * cfg.min_patients > total:
        raise ConfigError(
            f"partition.sites={cfg.sites} of at least partition.min_patients={cfg.min_patients} need "
            f"{cfg.sites * cfg.min_patients} patients; {dataset.name} has {total}. Lower either"
        )
    generator = np.random.default_rng(seed)
    cells = _cells(dataset, generator)
    dealt = _equal(cells, cfg.sites) if cfg.name == "iid" else _drawn(cells, cfg, generator)
    return {f"site_{index + 1}": dataset.subset(patients) for index, patients in enumerate(dealt)}


def describe(sites: dict[str, Dataset]) -> list[dict[str, int | str]]:
    """Returns a row a site: its counts of images and patients, and of patients by split and class.

    Keys: ``site``, ``images``, ``patients``, ``train_malignant``, ``train_benign`` and so on for val and test. A zero
    there means figures that the site cannot have.
    """
    return [{"site": name, **_counts(part)} for name, part in sites.items()]


def _counts(part: Dataset) -> dict[str, int]:
    counts = {f"{split}_{word}": 0 for split in ("train", "val", "test") for word in ("malignant", "benign")}
    patients = part.patients()
    for records in patients.values():
        key = f"{records[0].split}_{'malignant' if records[0].label else 'benign'}"
        if key in counts:
            counts[key] += 1
    return {"images": len(part.records), "patients": len(patients), **counts}


def _cells(dataset: Dataset, generator: np.random.Generator) -> Cells:
    cells: Cells = {}
    for patient, records in dataset.patients().items():
        cells.setdefault((records[0].split, records[0].label), []).append(patient)
    for key in sorted(cells):
        order = generator.permutation(len(cells[key]))
        cells[key] = [cells[key][index] for index in order]
    return {key: cells[key] for key in sorted(cells)}


def _equal(cells: Cells, sites: int) -> list[list[str]]:
    # One round of dealing through all cells keeps sizes within one patient of each other.
    deck = [patient for patients in cells.values() for patient in patients]
    return [deck[site::sites] for site in range(sites)]


def _drawn(cells: Cells, cfg: PartitionConfig, generator: np.random.Generator) -> list[list[str]]:
    draw = _by_class if cfg.name == "dirichlet" else _by_size
    fallback: list[list[str]] | None = None
    for _ in range(ATTEMPTS):
        shares = draw(cells, cfg, generator)
        dealt = _dealt(cells, shares, cfg.sites)
        if min(len(patients) for patients in dealt) < cfg.min_patients:
            continue
        if _trainable(cells, dealt):
            return dealt
        fallback = fallback or dealt
    if fallback is None:
        raise ConfigError(
            f"None of {ATTEMPTS} draws with partition.alpha={cfg.alpha:g} gave each of {cfg.sites} sites "
            f"{cfg.min_patients} patients; raise partition.alpha, or lower partition.min_patients or partition.sites"
        )
    return fallback


def _by_class(cells: Cells, cfg: PartitionConfig, generator: np.random.Generator) -> Callable[[int], Shares]:
    labels = sorted({label for _, label in cells})
    shares = {label: generator.dirichlet([cfg.alpha] * cfg.sites) for label in labels}
    return lambda label: shares[label]


def _by_size(cells: Cells, cfg: PartitionConfig, generator: np.random.Generator) -> Callable[[int], Shares]:
    shares = generator.dirichlet([cfg.alpha] * cfg.sites)
    return lambda label: shares


def _dealt(cells: Cells, shares: Callable[[int], Shares], sites: int) -> list[list[str]]:
    dealt: list[list[str]] = [[] for _ in range(sites)]
    for (_, label), patients in cells.items():
        borders = np.rint(np.cumsum(shares(label)) * len(patients)).astype(int)
        borders[-1] = len(patients)
        for site, (start, stop) in enumerate(zip([0, *borders[:-1]], borders, strict=True)):
            dealt[site].extend(patients[start:stop])
    return dealt


def _trainable(cells: Cells, dealt: list[list[str]]) -> bool:
    by_class = [set(patients) for (split, _), patients in cells.items() if split in ("train", "")]
    return all(not group.isdisjoint(patients) for patients in dealt for group in by_class)


def _natural(dataset: Dataset, cfg: PartitionConfig) -> dict[str, Dataset]:
    homeless = sum(not record.site for record in dataset.records)
    if homeless:
        raise ConfigError(
            f"partition=natural needs a site for every record; {homeless} of {len(dataset.records)} in {dataset.name} "
            "have none. Name a column with data.column, or use partition=iid"
        )
    homes = {patient: {record.site for record in records} for patient, records in dataset.patients().items()}
    travelling = [patient for patient, sites in homes.items() if len(sites) > 1]
    if travelling:
        raise DataError(
            f"{dataset.name}: {len(travelling)} patients were seen at several sites ({first(travelling)}); "
            "keep each at one, or use another data.column"
        )
    by_site: dict[str, list[str]] = {}
    for patient, sites in homes.items():
        by_site.setdefault(next(iter(sites)), []).append(patient)
    small = [site for site, patients in by_site.items() if len(patients) < cfg.min_patients]
    if small:
        raise ConfigError(
            f"{len(small)} sites of {dataset.name} have fewer than partition.min_patients={cfg.min_patients} patients "
            f"({first(small)}); lower partition.min_patients, or use another data.column"
        )
    return {site: dataset.subset(by_site[site]) for site in sorted(by_site)}
