"""Cropping and turning mammograms: alike for both sides, blind to labels, nothing of the breast lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from common.data.pixels.breast import crop_and_turn, find_breast, otsu
from tests.common.data.layouts import film


def mammogram(seed: int, height: int = 300, width: int = 220) -> NDArray[np.float32]:
    return film(seed, shape=(height, width)).astype(np.float32) / 65535


@given(seed=st.integers(0, 10_000), height=st.integers(40, 500), width=st.integers(40, 500))
def test_a_mirrored_film_ends_the_same(seed: int, height: int, width: int) -> None:
    image = mammogram(seed, height, width)
    part = crop_and_turn(image)
    mirrored = crop_and_turn(np.ascontiguousarray(image[:, ::-1]))
    if max(height, width) <= 256:
        assert np.array_equal(mirrored, part)
    else:
        assert np.abs(np.subtract(mirrored.shape, part.shape)).max() <= 4


def test_the_breast_stays_and_the_label_goes() -> None:
    image = mammogram(1)
    tissue = image > 0.2
    image[5:20, 190:215] = 1.0
    lie = find_breast(image)
    assert tissue[lie.top : lie.bottom, lie.left : lie.right].sum() == tissue.sum()
    assert crop_and_turn(image).max() < 1.0 and not lie.turned


def test_what_shows_no_breast_is_left_whole() -> None:
    for image in (np.zeros((50, 40), np.float32), np.ones((50, 40), np.float32), np.eye(64, dtype=np.float32)):
        assert np.array_equal(crop_and_turn(image), image)
    colour = np.repeat(mammogram(2)[..., None], 3, axis=2)
    assert np.array_equal(crop_and_turn(colour)[..., 1], crop_and_turn(mammogram(2)))


@given(st.integers(0, 10_000))
def test_the_threshold_is_otsu_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = np.concatenate([rng.normal(0.2, 0.05, 500), rng.normal(0.7, 0.1, 300)]).clip(0, 1).astype(np.float32)
    grey = np.round(image * 255).astype(np.uint8)
    assert abs(otsu(grey.reshape(20, 40) / np.float32(255)) * 255 - threshold_otsu(grey)) <= 1.5
