"""Every image read once: what the checks of pictures need to know of it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.data.checks.alike import difference_hash
from common.data.checks.overlay import overlay_mask
from common.data.lookalikes import thumbnail
from common.data.manifest import Dataset, Record
from common.data.pixels.dicom_file import is_dicom, open_tags, quiet
from common.data.pixels.images import ImageFiles
from common.data.readers.regions import DrawnRegions
from common.errors import DataError

SAMPLE = 100_000
"""Pixels of an image whose values are counted."""


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What one look at an image left.

    Attributes:
        record: Whose image it is.
        size: Height and width in pixels; None where it could not be read.
        flat: Whether it is of one grey.
        overlay: Whether letters or calipers are burned in.
        small: Its thumbnail, as :func:`common.data.lookalikes.thumbnail` makes it.
        hash: As :func:`common.data.checks.alike.difference_hash` makes it.
        peak: Its greatest value, of a range of 0 to 1.
        low: Its least value.
        greys: Different values among some :data:`SAMPLE` of its pixels.
        bits: A pixel's in the file; 0 is unknown.
    """

    record: Record
    size: tuple[int, int] | None
    flat: bool = False
    overlay: bool = False
    small: NDArray[np.float32] | None = None
    hash: NDArray[np.bool_] | None = None
    peak: float = 1.0
    low: float = 0.0
    greys: int = 256
    bits: int = 0


def look(dataset: Dataset, progress: Callable[[int], None] = lambda done: None) -> list[Seen]:
    """Returns one :class:`Seen` a record, in their order.

    Args:
        dataset: Images, not a table.
        progress: Told how many are done.
    """
    seen = []
    paths: list[Path] | list[None] = image_paths(dataset) or [None] * len(dataset.records)
    for done, (record, path) in enumerate(zip(dataset.records, paths, strict=True), start=1):
        seen.append(_look(dataset, record, path))
        progress(done)
    return seen


def image_paths(dataset: Dataset) -> list[Path]:
    """Returns the files of the records, in their order; none where images are no files of their own."""
    source = dataset.read.read if isinstance(dataset.read, DrawnRegions) else dataset.read
    return [source.folder / record.image for record in dataset.records] if isinstance(source, ImageFiles) else []


def file_bits(path: Path) -> int:
    """Returns the bits of a pixel's sample that a readable file stores, by its header; 0 where that does not tell."""
    if is_dicom(path):
        with quiet():
            return int(open_tags(path, pixels=False).get("BitsStored", 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            return 1 if image.mode == "1" else 16 if image.mode.startswith("I") else 8


def _look(dataset: Dataset, record: Record, path: Path | None) -> Seen:
    try:
        image = dataset.read(record.image)
    except DataError:
        return Seen(record, None)
    flat = bool(np.ptp(image) < 1e-3)
    height, width = image.shape[:2]
    step = max(1, int((height * width / SAMPLE) ** 0.5))
    return Seen(
        record,
        (height, width),
        flat,
        not flat and bool(overlay_mask(image).any()),
        thumbnail(image),
        difference_hash(image),
        float(image.max()),
        float(image.min()),
        len(np.unique(image[::step, ::step])),
        0 if path is None else file_bits(path),
    )
