"""Opens what a simulation can be run on, a public data set or the phantom, and deals it to the emulated hospitals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.data.formats import open_dataset
from common.data.manifest import Dataset, site_from_column
from common.errors import ConfigError

if TYPE_CHECKING:
    from common.config.study import DataConfig, PartitionConfig

NATIVE_SIDE = 128
"""Phantom images are drawn at least this large and then resized, as real ones are."""


def open_any(data: DataConfig, seed: int) -> Dataset:
    """Returns the data set of ``data.name``; ``phantom`` is drawn from ``seed``.

    Raises:
        ConfigError, DataError: See :func:`common.data.formats.open_dataset`.
    """
    if data.name != "phantom":
        return open_dataset(data)
    if data.root:
        raise ConfigError(
            f"data=phantom is drawn and reads no file; leave data.root={data.root} out, or name its data set"
        )
    from simulations.data.phantom import make_phantom

    dataset = make_phantom(data.patients, seed, max(NATIVE_SIDE, data.image_size))
    return site_from_column(dataset, data.column) if data.column else dataset


def open_sites(data: DataConfig, cfg: PartitionConfig, seed: int) -> dict[str, Dataset]:
    """Returns each emulated hospital's part: split by patient, then dealt out, then seen through its own scanner.

    Raises:
        ConfigError, DataError: The data cannot be read, split or dealt out.
    """
    from common.data.splits import split_by_patient
    from simulations.data.partition import partition
    from simulations.data.shift import shift_site

    whole = split_by_patient(open_any(data, seed), seed=seed, train_share=data.train_share, val_share=data.val_share)
    parts = partition(whole, cfg, seed).items()
    return {name: shift_site(part, index, cfg.shift, seed) for index, (name, part) in enumerate(parts)}
