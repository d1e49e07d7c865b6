"""Lesion masks as the network sees the image: cropped, turned, resized and padded the same way, never learned from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.data.checks.overlay import overlay_mask
from common.data.manifest import Dataset, Record, mask_keys, read_mask
from common.data.pixels.breast import find_breast
from common.data.pixels.transforms import fit
from common.errors import ConfigError, DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

Box = tuple[int, int, int, int]
TOUCHED = 0.1
"""Share of a pixel from which a letter, which may be thinner, counts as being there."""


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """What of a network input is image and what of that is lesion.

    Attributes:
        box: Rows [top, bottom) and columns [left, right) that the image fills; the rest is padding.
        lesion: bool (size, size); None when the record has no mask.
        overlay: bool (size, size), where letters or calipers are burned in; None where none was found.
    """

    box: Box
    lesion: NDArray[np.bool_] | None
    overlay: NDArray[np.bool_] | None = None


def shown(dataset: Dataset, record: Record, data: DataConfig) -> Shown:
    """Returns the place of the image and of its lesion in the input that :func:`.loading.to_tensors` makes of it.

    Raises:
        ConfigError: The data set is a table.
        DataError: The image or a mask cannot be read, or they differ in size.
    """
    if dataset.kind == "table":
        raise ConfigError(f"{dataset.name} is a table; only images have a lesion to look at")
    pixels = dataset.read(record.image)
    mask = _mask(dataset, record, pixels.shape[:2])
    marks = overlay_mask(pixels).astype(np.float32)
    area = np.ones(pixels.shape[:2], dtype=np.float32)
    if data.breast_crop:
        lie = find_breast(pixels if pixels.ndim == 2 else pixels.mean(axis=2))
        part, turn = np.s_[lie.top : lie.bottom, lie.left : lie.right], np.s_[:, :: -1 if lie.turned else 1]
        area, marks, mask = area[part], marks[part][turn], None if mask is None else mask[part][turn]
    rows, columns = np.nonzero(fit(area, data.image_size) > 0.5)
    box = int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1
    small = fit(marks, data.image_size) > TOUCHED
    return Shown(box, None if mask is None else fit(mask, data.image_size) > 0.5, small if small.any() else None)


def places_of(dataset: Dataset, data: DataConfig) -> list[list[Shown]]:
    """Returns of each patient, in the order of :func:`.loading.to_tensors`, the places of her images.

    Raises:
        ConfigError, DataError: See :func:`shown`.
    """
    return [[shown(dataset, record, data) for record in records] for records in dataset.patients().values()]


def _mask(dataset: Dataset, record: Record, size: tuple[int, ...]) -> NDArray[np.float32] | None:
    if not mask_keys(record):
        return None
    mask = read_mask(dataset, record)
    if mask.shape != size:
        raise DataError(
            f"The mask of {record.image} is {mask.shape[0]} x {mask.shape[1]} pixels, its image {size[0]} x {size[1]}; "
            "export masks at the size of the image"
        )
    return mask.astype(np.float32)
