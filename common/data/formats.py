"""One door to every public layout: the name of a data set to the reader that knows its files."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.manifest import Dataset, site_from_column
from common.errors import ConfigError, DataError

if TYPE_CHECKING:
    from common.config import DataConfig

READERS = {
    "bus_bra": "common.data.busbra",
    "busi": "common.data.busi",
    "breastmnist": "common.data.medmnist",
    "wdbc": "common.data.tables",
    "wbc": "common.data.tables",
    "manifest": "common.data.formats",
}


def open_dataset(data: DataConfig) -> Dataset:
    """Returns the data set that ``data.name`` and ``data.root`` tell, without decoding more than it must.

    With ``data.column``, the sites are taken from that column.

    Raises:
        ConfigError: The name is unknown, or ``data.root`` is needed and missing.
        DataError: The files are not there, or not in the published layout.
    """
    if data.name not in READERS:
        raise ConfigError(f"data.name={data.name} is unknown; expected one of {', '.join(READERS)}, or phantom")
    reader: Callable[[DataConfig], Dataset] = getattr(import_module(READERS[data.name]), f"open_{data.name}")
    dataset = reader(data)
    return site_from_column(dataset, data.column) if data.column else dataset


def open_manifest(data: DataConfig) -> Dataset:
    """Returns the data set of a CSV, or of ``manifest.csv`` in a folder."""
    from common.data.manifest import read_manifest

    path = required_root(data, "the manifest's CSV, or the folder that holds manifest.csv")
    return read_manifest(path / "manifest.csv" if path.is_dir() else path)


def required_root(data: DataConfig, what: str) -> Path:
    """Returns ``data.root`` as an existing path.

    Raises:
        ConfigError: It is not set.
        DataError: Nothing is there.
    """
    if not data.root:
        raise ConfigError(f"data.root is not set; for data={data.name} give {what}: data.root=/path")
    path = Path(data.root).expanduser()
    if not path.exists():
        raise DataError(f"There is nothing at data.root={path}; expected {what}")
    return path


def find_folder(data: DataConfig, name: str, holding: str) -> Path:
    """Returns the folder ``name``, given itself or its parent as ``data.root``; it holds the file ``holding``.

    Raises:
        ConfigError, DataError: See :func:`required_root`; or neither folder holds it.
    """
    root = required_root(data, f"the folder {name} (or the one that holds it)")
    for folder in (root, root / name):
        if (folder / holding).exists():
            return folder
    raise DataError(f"There is no {holding} in {root} or in {root / name}; expected the published layout of {name}")
