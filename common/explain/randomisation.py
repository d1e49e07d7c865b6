"""Does a heatmap depend on what the model learned? Maps of a trained model against those of randomised ones.

Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, section 3.1: weights are replaced by random ones layer
by layer from the output down (cascading); a map that stays the same shows the image, not the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError

Floats = NDArray[np.float64]
Maps = NDArray[np.floating]
Verdict = Literal["depends on the weights", "does not depend on the weights", "unclear"]

CHANGED, UNCHANGED = 0.5, 0.8
"""Mean rank correlation with the trained map once all layers are random: at most CHANGED is a map that depends on the
weights, at least UNCHANGED one that does not. A convention of this project: Adebayo et al. give no limits."""
_WINDOW = 7
_K1, _K2 = 0.01, 0.03


@dataclasses.dataclass(frozen=True, slots=True)
class LayerSimilarity:
    """Mean similarity of N maps to the trained model's, with everything from the output down to ``layer`` random.

    Attributes:
        spearman: Rank correlation over pixels in [-1, 1]; None when no pair has two maps that vary.
        ssim: Structural similarity in [-1, 1]; None for maps smaller than its window of 7 pixels.
        blank: How many of the randomised maps are of one value.
    """

    layer: str
    spearman: float | None
    ssim: float | None
    blank: int


@dataclasses.dataclass(frozen=True, slots=True)
class Sanity:
    """The layers in the order they were randomised, the verdict, and how alike maps of different images are.

    Attributes:
        between_images: Mean Spearman correlation of the trained model's maps of different images; when it is high, the
            method draws much the same for every image, and no similarity to it says much.
    """

    images: int
    layers: tuple[LayerSimilarity, ...]
    between_images: float | None
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as a JSON object."""
        return dataclasses.asdict(self)


def sanity(trained: Maps, randomised: Iterable[tuple[str, Maps]]) -> Sanity:
    """Returns how alike the maps stay while the model loses what it learned.

    Args:
        trained: (N, H, W) in [0, 1], maps of the trained model.
        randomised: Pairs of the layer just randomised and the maps of the same images, from the output down; the
            last pair is of a model with no trained layer left.

    Raises:
        DataError: There are no maps or no layers, or shapes differ.
    """
    if trained.ndim != 3 or not trained.size:
        raise DataError(f"Expected heatmaps (N, H, W) of at least one image, got shape {trained.shape}.")
    layers = tuple(_layer(name, trained, maps) for name, maps in randomised)
    if not layers:
        raise DataError("Expected at least one randomised layer to compare with, got none.")
    pairs = list(zip(trained, np.roll(trained, 1, axis=0), strict=True)) if len(trained) > 1 else []
    return Sanity(len(trained), layers, _mean([spearman(*pair) for pair in pairs]), _verdict(layers))


def spearman(one: Maps, two: Maps) -> float | None:
    """Returns the rank correlation of two maps over pixels, ties at their mean rank; None when one does not vary."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.asarray(each).ravel()) for each in (one, two)]
    if any(np.ptp(each) == 0 for each in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def ssim(one: Maps, two: Maps) -> float | None:
    """Returns the mean structural similarity of two maps in [0, 1]; None when they are smaller than the window.

    Wang et al., IEEE Trans Image Process 13:600 (2004), equation 13, with a uniform window of 7 x 7 pixels that lies
    within the map, sample covariances, and range 1.
    """
    from scipy.ndimage import uniform_filter

    if min(one.shape) < _WINDOW:
        return None
    x, y = np.asarray(one, np.float64), np.asarray(two, np.float64)
    mean_x, mean_y, xx, yy, xy = (uniform_filter(part, _WINDOW) for part in (x, y, x * x, y * y, x * y))
    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    var_x, var_y = unbiased * (xx - mean_x**2), unbiased * (yy - mean_y**2)
    covariance, c1, c2 = unbiased * (xy - mean_x * mean_y), _K1**2, _K2**2
    light = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    index = light * (2 * covariance + c2) / (var_x + var_y + c2)
    edge = _WINDOW // 2
    return float(index[edge:-edge, edge:-edge].mean())


def _layer(name: str, trained: Maps, maps: Maps) -> LayerSimilarity:
    if maps.shape != trained.shape:
        raise DataError(f"Expected maps of shape {trained.shape} for layer {name}, got {maps.shape}.")
    pairs = list(zip(trained, maps, strict=True))
    blank = sum(bool(np.ptp(each) == 0) for each in maps)
    return LayerSimilarity(name, _mean([spearman(*pair) for pair in pairs]), _mean([ssim(*p) for p in pairs]), blank)


def _verdict(layers: Sequence[LayerSimilarity]) -> Verdict:
    """Judges by the rank correlation of the last layer; SSIM is shown, but is high for maps that are mostly dark."""
    return judged(layers[-1].spearman)


def judged(spearman: float | None) -> Verdict:
    """Returns what a mean rank correlation with maps of a network without trained layers says."""
    if spearman is None:
        return "unclear"
    if spearman <= CHANGED:
        return "depends on the weights"
    return "does not depend on the weights" if spearman >= UNCHANGED else "unclear"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
