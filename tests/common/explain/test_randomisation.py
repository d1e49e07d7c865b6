"""Similarities against scipy and scikit-image; verdicts for a map of the image and for maps of the weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from common.errors import DataError
from common.explain.randomisation import sanity, spearman, ssim

seeds = st.integers(0, 10_000)


def _maps(seed: int, count: int = 4, side: int = 24) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(seed).random((count, side, side)), (0, 2, 2))
    low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
    return ((smooth - low) / (high - low)).astype(np.float32)


@given(seeds, seeds)
def test_similarities_agree_with_independent_ones(one: int, two: int) -> None:
    x, y = _maps(one, 1)[0], _maps(two, 1)[0]
    assert spearman(x, y) == pytest.approx(spearmanr(x.ravel(), y.ravel()).statistic, abs=1e-9)
    assert ssim(x, y) == pytest.approx(structural_similarity(x.astype(float), y.astype(float), data_range=1.0))


def test_a_map_that_shows_the_image_is_found_out() -> None:
    trained = _maps(0)
    found = sanity(trained, [("head", trained), ("trunk", np.clip(trained + 0.001, 0, 1))])
    assert found.verdict == "does not depend on the weights"
    assert [layer.layer for layer in found.layers] == ["head", "trunk"]
    assert found.layers[0].ssim == pytest.approx(1.0)


def test_a_map_that_changes_with_the_weights_passes() -> None:
    found = sanity(_maps(0), [("head", _maps(0)), ("trunk", _maps(1))])
    assert found.verdict == "depends on the weights"
    assert found.between_images is not None and abs(found.between_images) < 0.5


def test_blank_maps_say_nothing() -> None:
    found = sanity(_maps(0), [("head", np.zeros((4, 24, 24)))])
    assert (found.verdict, found.layers[0].spearman, found.layers[0].blank) == ("unclear", None, 4)


def test_half_changed_maps_are_unclear() -> None:
    trained = _maps(0, 10)
    mixed = trained.copy()
    mixed[:4] = _maps(3, 10)[:4]
    found = sanity(trained, [("trunk", mixed)])
    assert found.verdict == "unclear"
    json.dumps(found.to_json(), allow_nan=False)


def test_one_tiny_map_has_no_ssim() -> None:
    found = sanity(_maps(0, 1, 5), iter([("trunk", _maps(1, 1, 5))]))
    assert found.layers[0].ssim is None and found.between_images is None


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="at least one randomised layer"):
        sanity(_maps(0), [])
    with pytest.raises(DataError, match="for layer head"):
        sanity(_maps(0), [("head", _maps(0, 3))])
    with pytest.raises(DataError, match="at least one image"):
        sanity(np.zeros((0, 4, 4)), [])
