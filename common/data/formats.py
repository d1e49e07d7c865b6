"""One door to every public layout: the name of a data set to the reader that knows its files."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.manifest import Dataset, site_from_column
from common.errors import ConfigError, DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

READERS = {
    "bus_bra": "common.data.readers.busbra",
    "busi": "common.data.readers.busi",
    "bus_uc": "common.data.readers.busuc",
    "bus_uclm": "common.data.readers.busuclm",
    "breast_lesions_usg": "common.data.readers.breastlesions",
    "breastmnist": "common.data.readers.medmnist",
    "wdbc": "common.data.readers.tables",
    "wbc": "common.data.readers.tables",
    "cbis_ddsm": "common.data.readers.cbis",
    "cmmd": "common.data.readers.cmmd",
    "mias": "common.data.readers.mias",
    "inbreast": "common.data.readers.inbreast",
    "vindr_mammo": "common.data.readers.vindr",
    "rsna": "common.data.readers.rsna",
    "embed": "common.data.readers.embed",
    "breakhis": "common.data.readers.breakhis",
    "bach": "common.data.readers.bach",
    "idc": "common.data.readers.idc",
    "pcam": "common.data.readers.pcam",
    "manifest": "common.data.formats",
}


def open_dataset(data: DataConfig) -> Dataset:
    """Returns the data set that ``data.name`` and ``data.root`` tell, without decoding more than it must.

    With ``data.only``, only records with one of its values are kept; with ``data.column``, the sites are taken from
    that column.

    Raises:
        ConfigError: The name is unknown, or ``data.root`` is needed and missing.
        DataError: The files are not there, or not in the published layout, or ``data.only`` keeps none.
    """
    if data.name not in READERS:
        raise ConfigError(f"data.name={data.name} is unknown; expected one of {', '.join(READERS)}, or phantom")
    reader: Callable[[DataConfig], Dataset] = getattr(import_module(READERS[data.name]), f"open_{data.name}")
    dataset = keep_only(reader(data), data.only) if data.only else reader(data)
    return site_from_column(dataset, data.column) if data.column else dataset


def open_manifest(data: DataConfig) -> Dataset:
    """Returns the data set of a CSV, or of ``manifest.csv`` in a folder."""
    from common.data.manifest import read_manifest

    path = required_root(data, "the manifest's CSV, or the folder that holds manifest.csv")
    return read_manifest(path / "manifest.csv" if path.is_dir() else path)


def keep_only(dataset: Dataset, choice: str) -> Dataset:
    """Returns the records whose attribute has one of the values: ``view:CC`` or ``magnification:200,400``.

    Raises:
        DataError: None has; the message lists the values there are.
    """
    column, _, values = choice.partition(":")
    wanted = {value.strip().lower() for value in values.split(",")}
    kept = [record for record in dataset.records if record.attributes.get(column, "").lower() in wanted]
    if not kept:
        there = sorted({record.attributes[column] for record in dataset.records if column in record.attributes})
        known = ", ".join(there[:20]) or f"columns {sorted({key for r in dataset.records for key in r.attributes})}"
        raise DataError(f"data.only={choice} keeps no image of {dataset.name}; there are {known}")
    return dataset.with_records(kept)


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
