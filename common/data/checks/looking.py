"""Every image read once: what the checks of pictures need to know of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from common.data.checks.overlay import overlay_mask
from common.data.lookalikes import thumbnail
from common.data.manifest import Dataset, Record
from common.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What one look at an image left; ``size`` is None where it could not be read."""

    record: Record
    size: tuple[int, int] | None
    flat: bool = False
    overlay: bool = False
    small: NDArray[np.float32] | None = None


def look(dataset: Dataset, progress: Callable[[int], None] = lambda done: None) -> list[Seen]:
    """Returns one :class:`Seen` a record, in their order.

    Args:
        dataset: Images, not a table.
        progress: Told how many are done.
    """
    seen = []
    for done, record in enumerate(dataset.records, start=1):
        seen.append(_look(dataset, record))
        progress(done)
    return seen


def _look(dataset: Dataset, record: Record) -> Seen:
    try:
        image = dataset.read(record.image)
    except DataError:
        return Seen(record, None)
    flat = bool(np.ptp(image) < 1e-3)
    height, width = image.shape[:2]
    return Seen(record, (height, width), flat, not flat and bool(overlay_mask(image).any()), thumbnail(image))
