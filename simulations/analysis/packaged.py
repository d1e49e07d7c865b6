"""The model of a run of emulated hospitals as a package, with what only the holder of the images can add.

In a deployment neither leaves the hospitals: how training images look, and whether attention follows the weights on
images of patients.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.data.checks.overlay import overlay_mask
from common.data.intake.appearance import measure
from common.data.loading import network_input
from common.inference.package import Package
from common.inference.writing import VALID_DAYS, Wishes, write_package
from simulations.engine.reopened import ReopenedRun, reopen

if TYPE_CHECKING:
    from common.data.manifest import Dataset

LIMIT = 4.0
"""Standard deviations; :func:`appearance_of` tells which share of the training patients lies beyond."""
FEWEST = 20
SANITY_IMAGES, MARK_IMAGES = 16, 200


def package_run(folder: Path, out: Path, valid_days: int = VALID_DAYS) -> Package:
    """Returns the package that it wrote to ``out``.

    Raises:
        ConfigError, DataError, ModelError: See :func:`common.inference.writing.write_package` and
            :func:`simulations.engine.reopened.reopen`.
    """
    run = reopen(folder)
    if next(iter(run.tests.values())).kind != "image":
        return write_package(folder, out, Wishes(emulated=True))  # which says why it cannot be
    parts = _training(run)
    wishes = Wishes(
        emulated=True,
        valid_days=valid_days,
        appearance=appearance_of(parts),
        marked_share=marked_share(parts),
        sanity=_sanity_images(run),
    )
    return write_package(folder, out, wishes)


def appearance_of(cohorts: list[Dataset]) -> dict[str, Any] | None:
    """Returns ``appearance.json`` of patients: mean and standard deviation of each measure; None for too few.

    ``beyond`` is the share of these very patients whom the limit would flag.
    """
    rows = [_mean([measure(part.read(record.image)) for record in records])
            for part in cohorts for records in part.patients().values()]  # fmt: skip
    if len(rows) < FEWEST:
        return None
    measures = {}
    for name in rows[0]:
        values = [row[name] for row in rows if name in row]
        if len(values) == len(rows):
            measures[name] = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
    far = [any(abs(row[name] - part["mean"]) > LIMIT * part["sd"] for name, part in measures.items()) for row in rows]
    return {
        "schema_version": 1, "source": "training patients of the emulated hospitals", "patients": len(rows),
        "limit": LIMIT, "beyond": float(np.mean(far)), "measures": measures,
    }  # fmt: skip


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    names = set.intersection(*(set(row) for row in rows))
    return {name: float(np.mean([row[name] for row in rows])) for name in sorted(names)}


def marked_share(cohorts: list[Dataset]) -> float:
    """Returns the share of :data:`MARK_IMAGES` images, all over the cohorts, with letters or calipers burned in."""
    return float(np.mean([overlay_mask(image).any() for image in _some(cohorts, MARK_IMAGES)]))


def _training(run: ReopenedRun) -> list[Dataset]:
    from simulations.engine.emulation import emulated_cohorts

    cohorts = emulated_cohorts(run.study)
    return [cohorts[name].in_split("train") for name in run.tests]


def _sanity_images(run: ReopenedRun) -> NDArray[np.float32]:
    return np.stack([network_input(image, run.study.data) for image in _some(list(run.tests.values()), SANITY_IMAGES)])


def _some(parts: list[Dataset], count: int) -> Iterator[NDArray[np.float32]]:
    every = [(part, record.image) for part in parts for record in part.records]
    for place in np.linspace(0, len(every) - 1, min(count, len(every))).round().astype(int):
        part, key = every[place]
        yield part.read(key)
