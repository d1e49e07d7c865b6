"""BreastMNIST: BUSI at 28 x 28 pixels with an official split (Yang 2023). Its published label 0 is malignant."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.data.formats import required_root
from common.data.manifest import SPLITS, Dataset, Record
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Yang J, Shi R, Wei D, Liu Z, Zhao L, Ke B, Pfister H, Ni B. MedMNIST v2. Scientific Data 10:41, 2023; "
    "Al-Dhabyani W, et al. Dataset of breast ultrasound images. Data in Brief 28:104863, 2020"
)
LICENCE = "CC BY 4.0"
FILES = {28: "breastmnist.npz", 64: "breastmnist_64.npz", 128: "breastmnist_128.npz", 224: "breastmnist_224.npz"}
MAX_BYTES = 1 << 30
NOTES = (
    "No patient ids are published: each image counts as a patient.",
    "The official split does not keep BUSI's look-alike images together, so test figures are optimistic.",
    "Made from BUSI: never train on one and test on the other. Benign includes normal.",
)


@dataclasses.dataclass(frozen=True, eq=False)
class StackedImages:
    """Reads image ``split/number`` from arrays uint8 (N, H, W)."""

    stacks: dict[str, NDArray[np.uint8]]

    def __call__(self, key: str) -> NDArray[np.float32]:
        split, _, number = key.partition("/")
        pixels: NDArray[np.float32] = self.stacks[split][int(number)].astype(np.float32) / np.float32(255)
        return pixels


def open_breastmnist(data: DataConfig) -> Dataset:
    """Returns BreastMNIST in its official split, malignant as label 1.

    ``data.root`` is an npz file or its folder; without it, medmnist's own cache or download is used. Of the sizes 28,
    64, 128 and 224 the smallest that ``data.image_size`` does not enlarge is taken, in a folder the nearest there is.

    Raises:
        DataError: There is no such file, it cannot be fetched, or it holds other arrays.
    """
    path = _path(data)
    stacks, labels = _load(path)
    records = tuple(
        # Published: 0 malignant, 1 normal or benign.
        Record(image=f"{split}/{number:04d}", patient=f"{split}-{number:04d}", label=1 - int(value), split=split)
        for split in SPLITS
        for number, value in enumerate(labels[split])
    )
    read = StackedImages(stacks)
    return Dataset(name="BreastMNIST", records=records, read=read, citation=CITATION, licence=LICENCE, notes=NOTES)


def _by_fitness(side: int) -> list[int]:
    """Returns the published sizes, best first: those that need no enlarging from small to large, then the others."""
    return sorted(size for size in FILES if size >= side) + sorted(
        (size for size in FILES if size < side), reverse=True
    )


def _path(data: DataConfig) -> Path:
    names = [FILES[size] for size in _by_fitness(data.image_size)]
    if not data.root:
        return _fetched(_by_fitness(data.image_size)[0])
    root = required_root(data, f"{FILES[28]} or the folder that holds it")
    if not root.is_dir():
        return root
    path = next((root / name for name in names if (root / name).is_file()), None)
    if path is None:
        raise DataError(f"There is no {FILES[28]} in {root}; expected an official file of MedMNIST")
    return path


def _fetched(size: int) -> Path:
    name = FILES[size]
    try:
        from medmnist import BreastMNIST
        from medmnist.info import DEFAULT_ROOT
    except ImportError:
        raise DataError(f"data.root is not set and medmnist is not installed; give data.root=/path/{name}") from None
    path = Path(DEFAULT_ROOT) / name
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            BreastMNIST(split="train", download=True, root=str(path.parent), size=size)
        # medmnist turns every failure to fetch into RuntimeError; a blocked network may surface as OSError.
        except (RuntimeError, OSError):
            raise DataError(f"{name} could not be fetched; copy it here and give data.root=/path/{name}") from None
    return path


def _load(path: Path) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.uint8]]]:
    try:
        with zipfile.ZipFile(path) as members:
            unpacked = sum(member.file_size for member in members.infolist())
        if unpacked > MAX_BYTES:
            raise ValueError(f"unpacks to {unpacked} bytes")
        with np.load(path, allow_pickle=False) as archive:
            stacks = {split: archive[f"{split}_images"] for split in SPLITS}
            labels = {split: archive[f"{split}_labels"].reshape(-1) for split in SPLITS}
    # A damaged archive raises whatever zipfile, zlib and the array header meet first.
    except Exception as error:
        raise DataError(f"{path} is not a BreastMNIST file ({error}); download it again") from None
    for split in SPLITS:
        sound = stacks[split].ndim == 3 and stacks[split].dtype == np.uint8 and len(stacks[split]) == len(labels[split])
        if not sound or set(labels[split].tolist()) - {0, 1}:
            raise DataError(f"{path}: split {split} is not grey images with labels 0 and 1; download it again")
    return stacks, labels
