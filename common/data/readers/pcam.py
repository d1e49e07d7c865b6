"""PatchCamelyon: 327,680 squares of 96 x 96 from lymph nodes of women with breast cancer, HDF5 (Veeling 2018).

Label 1 says that the centre of 32 x 32 shows a metastasis. HDF5 is read in a process of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.data.formats import required_root
from common.data.manifest import Dataset, Record
from common.data.pixels.isolated import decode
from common.data.readers.classes import halves
from common.data.readers.idc import PATCH_NOTES
from common.data.readers.rows import read_rows
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Veeling BS, Linmans J, Winkens J, Cohen T, Welling M. Rotation equivariant CNNs for digital pathology. MICCAI "
    "2018, arXiv:1806.03962; Bejnordi BE, et al. JAMA 318(22):2199-2210, 2017 (Camelyon16)"
)
LICENCE = "CC0 (as Camelyon16)"
SPLITS = {"train": "train", "val": "valid", "test": "test"}
SIDE = 96
BLOCK = 32
"""Patches read at once: neighbours are asked for next."""
MAX_PATCHES = 1_000_000
WORDS = {0: "without tumour", 1: "with tumour"}


@dataclasses.dataclass(frozen=True)
class Patches:
    """Reads patch ``train/000012``, float32 (96, 96, 3), out of the HDF5 files of a folder."""

    folder: Path

    def __call__(self, key: str) -> NDArray[np.float32]:
        split, _, number = key.partition("/")
        index = int(number)
        block = _block(_file(self.folder, split, "x"), index // BLOCK)
        patch: NDArray[np.float32] = block[index % BLOCK].astype(np.float32) / np.float32(255)
        return patch


def open_pcam(data: DataConfig) -> Dataset:
    """Returns PatchCamelyon in its published split: a *patient* is the patches of one slide and class.

    Without the ``..._meta.csv`` files, which name the slides, each patch is a patient.

    Raises:
        ConfigError, DataError: A file is missing or holds other arrays, or h5py is not installed.
    """
    root = required_root(data, "the folder with camelyonpatch_level_2_split_train_x.h5 and the others")
    slides = {split: _slides(root, split) for split in SPLITS}
    records = tuple(record for split in SPLITS for record in _records(root, split, slides[split]))
    known = all(slides.values())
    return Dataset(
        name="PatchCamelyon",
        records=halves(records, WORDS) if known else records,
        read=Patches(root),
        citation=CITATION,
        licence=LICENCE,
        notes=(
            "Lymph nodes, not breast tissue.",
            *(PATCH_NOTES if known else (PATCH_NOTES[0], "Without the meta files each patch counts as a patient.")),
        ),
    )


def _file(root: Path, split: str, part: str) -> Path:
    return root / f"camelyonpatch_level_2_split_{SPLITS[split]}_{part}.h5"


def _records(root: Path, split: str, slides: list[str]) -> Iterable[Record]:
    labels = _labels(root, split)
    if slides and len(slides) != len(labels):
        raise DataError(f"The meta file of {split} in {root} has {len(slides)} rows; expected {len(labels)}")
    for number, label in enumerate(labels):
        key = f"{split}/{number:06d}"
        yield Record(image=key, patient=slides[number] if slides else key, label=label, split=split)


def _labels(root: Path, split: str) -> list[int]:
    pixels, path = _file(root, split, "x"), _file(root, split, "y")
    for file in (pixels, path):
        if not file.is_file():
            raise DataError(f"There is no {file.name} in {root}; unpack the published .h5.gz files there")
    shape = tuple(_ask(pixels, "h5_shape", 64, name="x").tolist())
    if not 0 < shape[0] <= MAX_PATCHES or shape[1:] != (SIDE, SIDE, 3):
        raise DataError(f"{pixels} holds {shape}; expected at most {MAX_PATCHES} patches of {SIDE} x {SIDE} x 3")
    labels = _ask(path, "h5_rows", MAX_PATCHES, name="y", start=0, stop=MAX_PATCHES).reshape(-1)
    if len(labels) != shape[0] or set(labels.tolist()) - {0, 1}:
        raise DataError(f"{path} holds {len(labels)} labels; expected {shape[0]} of 0 or 1")
    return [int(label) for label in labels]


def _slides(root: Path, split: str) -> list[str]:
    path = root / f"camelyonpatch_level_2_split_{SPLITS[split]}_meta.csv"
    return [row["wsi"] for row in read_rows(path, ("wsi",))] if path.is_file() else []


@lru_cache(maxsize=64)
def _block(path: Path, number: int) -> NDArray[Any]:
    most = BLOCK * SIDE * SIDE * 3
    rows = _ask(path, "h5_rows", most, name="x", start=number * BLOCK, stop=(number + 1) * BLOCK)
    if rows.dtype != np.uint8 or rows.shape[1:] != (SIDE, SIDE, 3):
        raise DataError(f"{path} holds {rows.dtype} {rows.shape}; expected bytes of {SIDE} x {SIDE} x 3")
    return rows


def _ask(path: Path, job: str, most_bytes: int, **arguments: Any) -> NDArray[Any]:
    try:
        return decode(path, job, most_bytes=most_bytes, **arguments)
    except DataError as error:
        missing = "No module named 'h5py'" in str(error)
        raise DataError("h5py is not installed: pip install 'oncofed[hdf5]'") if missing else error from None
