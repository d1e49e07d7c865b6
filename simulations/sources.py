"""Opens what a simulation can be run on: a public data set, or the phantom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.data.formats import open_dataset
from common.data.manifest import Dataset, site_from_column

if TYPE_CHECKING:
    from common.config import DataConfig

NATIVE_SIDE = 128
"""Phantom images are drawn at least this large and then resized, as real ones are."""


def open_any(data: DataConfig, seed: int) -> Dataset:
    """Returns the data set of ``data.name``; ``phantom`` is drawn from ``seed``.

    Raises:
        ConfigError, DataError: See :func:`common.data.formats.open_dataset`.
    """
    if data.name != "phantom":
        return open_dataset(data)
    from simulations.phantom import make_phantom

    dataset = make_phantom(data.patients, seed, max(NATIVE_SIDE, data.image_size))
    return site_from_column(dataset, data.column) if data.column else dataset
