"""Where a heatmap looks, in numbers: on the lesion, on the border, in the corners, on burned-in text.

Every :class:`Share` comes with what a map that knows nothing would get (``chance``), for a large lesion is easy to
hit. A heatmap shows what the model used, not where a lesion ends; none of these figures is a segmentation score.

A blank map (all one value) knows nothing and gets chance, never the first pixel's luck: pixels that tie share what
they would have won.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LABEL = "Model attention, not a lesion outline"
"""Stands wherever a map or a measure of maps is shown."""
FRAME = 0.10
"""Width of the border, as a share of each side: 36 percent of the area."""
CORNER = 0.20
"""Side of each of the four corner boxes, as a share of each side: 16 percent of the area together."""
MEASURES = ("pointing", "energy", "iou", "centre_pointing", "centre_energy", "border", "corner", "padding", "overlay")
"""Every name that :func:`attention` may give; the first five need a lesion mask, ``overlay`` a mask of text."""


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """One measure of one map and its expectation for a map without knowledge, both in [0, 1].

    Raises:
        DataError: One of them is outside [0, 1] or not a number.
    """

    value: float
    chance: float

    def __post_init__(self) -> None:
        if not (0 <= self.value <= 1 and 0 <= self.chance <= 1):
            raise DataError(f"Expected a share and its chance in [0, 1], got {self.value}, {self.chance}.")


def attention(
    heatmap: NDArray[np.floating], lesion: Bools | None = None, overlay: Bools | None = None
) -> dict[str, Share]:
    """Returns the measures of one map by their names in :data:`MEASURES`, without those that need a mask not given.

    Args:
        heatmap: (H, W) in [0, 1], of the image alone: cut off padding first, see :func:`within`.
        lesion: bool (H, W); one that marks nothing, or everything, counts as none.
        overlay: bool (H, W), burned-in text and calipers, the same rule.

    Raises:
        DataError: Shapes differ, or the map is not finite or outside [0, 1].
    """
    heat = checked(heatmap)
    shares = {"border": energy(heat, frame(heat.shape)), "corner": energy(heat, corners(heat.shape))}
    if (marked := _marked(lesion, heat.shape, "lesion")) is not None:
        centre = centred(heat.shape)
        shares |= {"pointing": pointing(heat, marked), "energy": energy(heat, marked), "iou": iou(heat, marked)}
        shares |= {"centre_pointing": pointing(centre, marked), "centre_energy": energy(centre, marked)}
    if (marked := _marked(overlay, heat.shape, "overlay")) is not None:
        shares["overlay"] = energy(heat, marked)
    return {name: shares[name] for name in MEASURES if name in shares}


def pointing(heat: Floats, region: Bools) -> Share:
    """Returns the share of the map's highest pixels that lie in the region: 1 hit, 0 miss unless pixels tie.

    Zhang et al., Top-down neural attention by excitation backprop, IJCV 126:1084 (2018; ECCV 2016), section 4.1, the
    pointing game, here without its tolerance of 15 pixels. Chance is that of a pixel at random: the region's area.
    """
    return Share(float(region[heat == heat.max()].mean()), float(region.mean()))


def energy(heat: Floats, region: Bools) -> Share:
    """Returns the share of the map's sum that lies in the region; of a map of zeros, the region's area.

    Wang et al., Score-CAM, CVPR Workshops 2020, section 4.3, the energy-based pointing game. Chance, the region's area,
    is exact for a map whose pixels are permuted, and for one shifted round the image at random.
    """
    area, total = float(region.mean()), float(heat.sum())
    return Share(min(1.0, float(heat[region].sum()) / total) if total > 0 else area, area)


def iou(heat: Floats, region: Bools) -> Share:
    """Returns intersection over union of the region and the map's highest pixels, as many as the region has.

    As many as the region, not a fixed percentage: then 1 can be reached whatever the lesion's size, and no threshold
    is chosen. With overlap ``x`` of ``m`` pixels it is ``x / (2 m - x)``. Pixels that tie at the limit count by the
    share of them that fits. Chance: :func:`chance_iou`.
    """
    wanted = int(region.sum())
    limit = float(np.partition(heat.ravel(), heat.size - wanted)[heat.size - wanted])
    above, tied = heat > limit, heat == limit
    overlap = float(region[above].sum()) + (wanted - int(above.sum())) * float(region[tied].mean())
    return Share(overlap / (2 * wanted - overlap), chance_iou(wanted, heat.size))


def chance_iou(region: int, pixels: int) -> float:
    """Returns the expected :func:`iou` of a map of random pixels, exactly.

    The overlap of two sets of ``m`` of ``n`` pixels is hypergeometric: ``sum of x / (2 m - x) * P(x)`` with
    ``P(x) = C(m, x) C(n - m, m - x) / C(n, m)``.

    Raises:
        DataError: Not 0 < region <= pixels.
    """
    if not 0 < region <= pixels:
        raise DataError(f"Expected a region of 1 to {pixels} pixels, got {region}.")
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, pixels + 1)))])

    def choose(total: int, part: NDArray[np.int64]) -> Floats:
        ways: Floats = log_factorial[total] - log_factorial[part] - log_factorial[total - part]
        return ways

    overlap = np.arange(max(0, 2 * region - pixels), region + 1)
    log_p = choose(region, overlap) + choose(pixels - region, region - overlap)
    weights = np.exp(log_p - log_p.max())
    return float((weights * overlap / (2 * region - overlap)).sum() / weights.sum())


def frame(shape: tuple[int, ...]) -> Bools:
    """Returns the outer :data:`FRAME` of an image, bool (H, W); at least one pixel wide."""
    marked = np.ones(shape, dtype=np.bool_)
    down, across = _part(shape, FRAME)
    marked[down : shape[0] - down, across : shape[1] - across] = False
    return marked


def corners(shape: tuple[int, ...]) -> Bools:
    """Returns the four corner boxes of :data:`CORNER` of each side, bool (H, W); at least one pixel each."""
    down, across = _part(shape, CORNER)
    rows, columns = np.zeros(shape[0], np.bool_), np.zeros(shape[1], np.bool_)
    rows[:down] = rows[shape[0] - down :] = columns[:across] = columns[shape[1] - across :] = True
    return rows[:, None] & columns[None, :]


def centred(shape: tuple[int, ...]) -> Floats:
    """Returns a map that looks at the middle of every image, whatever it shows: what a real map has to beat.

    A Gaussian whose standard deviation is a quarter of each side; float64 (H, W) in [0, 1]. Sonographers centre the
    lesion, so this map beats chance without any knowledge.
    """
    rows, columns = ((np.arange(side) + 0.5) / side - 0.5 for side in shape)
    bump: Floats = np.exp(-8 * (rows[:, None] ** 2 + columns[None, :] ** 2))
    peak: Floats = bump / bump.max()
    return peak


def within(heatmap: NDArray[np.floating], box: tuple[int, int, int, int]) -> tuple[Floats, Share | None]:
    """Returns the part of a map that lies on the image, and the ``padding`` share: energy outside against area.

    Args:
        heatmap: (H, W) in [0, 1] of the network's input.
        box: Rows [top, bottom) and columns [left, right) that the image fills.

    Raises:
        DataError: The map is not one, or the box is empty or not inside it.
    """
    heat, (top, bottom, left, right) = checked(heatmap), box
    if not (0 <= top < bottom <= heat.shape[0] and 0 <= left < right <= heat.shape[1]):
        raise DataError(f"Expected a box inside a map of shape {heat.shape}, got {box}.")
    outside = np.ones(heat.shape, dtype=np.bool_)
    outside[top:bottom, left:right] = False
    return heat[top:bottom, left:right], energy(heat, outside) if outside.any() else None


def mean_shares(maps: list[Mapping[str, Share]]) -> dict[str, Share]:
    """Returns each measure's mean over the images of one patient that have it: a patient counts once."""
    found: dict[str, Share] = {}
    for name in MEASURES:
        if shares := [shares[name] for shares in maps if name in shares]:
            value, chance = (float(np.mean([getattr(share, part) for share in shares])) for part in ("value", "chance"))
            found[name] = Share(min(1.0, value), min(1.0, chance))
    return found


def checked(heatmap: NDArray[np.floating]) -> Floats:
    """Returns the map as float64.

    Raises:
        DataError: It is not two-dimensional, finite and in [0, 1].
    """
    heat = np.asarray(heatmap, dtype=np.float64)
    if heat.ndim != 2 or min(heat.shape) < 4 or not ((heat >= 0) & (heat <= 1)).all():
        raise DataError(f"Expected a heatmap (H, W) of at least 4 x 4 pixels in [0, 1], got shape {heat.shape}.")
    return heat


def _marked(mask: Bools | None, shape: tuple[int, ...], name: str) -> Bools | None:
    if mask is None:
        return None
    if mask.shape != shape or mask.dtype != np.bool_:
        raise DataError(f"Expected the {name} mask as bool {shape}, got {mask.dtype} {mask.shape}.")
    return mask if mask.any() and not mask.all() else None


def _part(shape: tuple[int, ...], share: float) -> tuple[int, int]:
    return max(1, round(share * shape[0])), max(1, round(share * shape[1]))
