"""How a site's images look, in a few numbers: what tells one machine or one stain from another.

Measured on each image by itself, so nothing is fitted on patients; a site tells means and standard deviations over its
patients, and only where they are enough. The emulated scanners of ``simulations/data/shift.py`` change them too.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.data.pixels.transforms import LUMA

SIDE = 256
"""Pixels of the longer side at which images are measured, so that resolution does not count."""
WINDOW = 7
LARGE = 0.8
"""Standardised difference that is called large (Cohen 1988, section 2.2)."""
DARK, TISSUE, COLOURED = 0.05, 0.15, 0.02
MEASURES = ("intensity", "contrast", "sharpness", "speckle", "stain_red", "stain_blue")


def measure(image: NDArray[np.float32]) -> dict[str, float]:
    """Returns the measures of one image; those of stain only where it is coloured.

    ``intensity`` mean; ``contrast`` standard deviation; ``sharpness`` mean gradient over the standard deviation;
    ``speckle`` median over 7 x 7 windows, dark ones aside, of standard deviation over mean; ``stain_red`` and
    ``stain_blue`` the shares of red and blue in the optical density (Beer-Lambert) of tissue.

    Args:
        image: float32 (H, W) or (H, W, 3) in [0, 1].
    """
    grey = _small(image if image.ndim == 2 else np.ascontiguousarray(image @ LUMA))
    spread = float(grey.std())
    rows, columns = np.gradient(grey)
    found = {
        "intensity": float(grey.mean()),
        "contrast": spread,
        "sharpness": float(np.hypot(rows, columns).mean()) / max(spread, 1e-6),
        "speckle": _speckle(grey),
    }
    return found | _stain(image)


def summary(patients: Iterable[Sequence[Mapping[str, float]]], min_cell: int) -> dict[str, Any] | None:
    """Returns ``patients`` and for each measure ``mean`` and ``sd`` over patients, each the mean of its images.

    None with fewer than ``min_cell`` patients; a measure that fewer have is left out.
    """
    means = patient_means(patients)
    if len(means) < max(2, min_cell):
        return None
    measures = {
        name: {"mean": round(statistics.mean(values), 4), "sd": round(statistics.stdev(values), 4)}
        for name, values in by_measure(means, min_cell)
    }
    return {"patients": len(means), "measures": measures}


def by_measure(means: Sequence[Mapping[str, float]], min_cell: int) -> Iterator[tuple[str, list[float]]]:
    """Yields each measure that ``min_cell`` patients have, two at least, with their values."""
    for name in MEASURES:
        values = [found[name] for found in means if name in found]
        if len(values) >= max(2, min_cell):
            yield name, values


def patient_means(patients: Iterable[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Returns the mean of each patient's images, in the measures that all of them have."""
    return [_mean(images) for images in patients if images]


def differences(sites: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns for each site and measure the difference to the mean of the other sites, in standard deviations.

    The standard deviation is the pooled one of all sites (Cohen 1988, section 2.5). A measure that one site alone has
    is left out.
    """
    found: dict[str, dict[str, float]] = {site: {} for site in sites}
    for name in MEASURES:
        have = {site: block["measures"][name] for site, block in sites.items() if name in block["measures"]}
        if len(have) < 2:
            continue
        weights = {site: sites[site]["patients"] for site in have}
        pooled = math.sqrt(_weighted({site: row["sd"] ** 2 for site, row in have.items()}, weights))
        for site, row in have.items():
            others = {other: part["mean"] for other, part in have.items() if other != site}
            found[site][name] = (row["mean"] - _weighted(others, weights)) / max(pooled, 1e-9)
    return found


def _weighted(values: Mapping[str, float], weights: Mapping[str, int]) -> float:
    return sum(value * weights[site] for site, value in values.items()) / sum(weights[site] for site in values)


def _mean(images: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = set.intersection(*(set(image) for image in images))
    return {name: statistics.mean(image[name] for image in images) for name in names}


def _small(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = plane.shape
    scale = SIDE / max(height, width)
    size = max(2, round(width * scale)), max(2, round(height * scale))
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


def _speckle(grey: NDArray[np.float32]) -> float:
    from scipy.ndimage import uniform_filter

    mean = uniform_filter(grey, WINDOW)
    spread = np.sqrt(np.clip(uniform_filter(grey**2, WINDOW) - mean**2, 0, None))
    bright = mean > DARK
    return float(np.median(spread[bright] / mean[bright])) if bright.any() else 0.0


def _stain(image: NDArray[np.float32]) -> dict[str, float]:
    if image.ndim == 2 or float(np.abs(image - image.mean(2, keepdims=True)).mean()) < COLOURED:
        return {}
    density = -np.log(np.clip(image, 1 / 255, 1))
    tissue = density[density.sum(2) > TISSUE]
    if not len(tissue):
        return {}
    red, _, blue = (tissue.mean(0) / tissue.mean(0).sum()).tolist()
    return {"stain_red": red, "stain_blue": blue}
