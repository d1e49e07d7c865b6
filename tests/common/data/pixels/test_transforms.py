"""Preprocessing and augmentation: ranges, geometry, determinism."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.data.pixels.transforms import augment, preprocess
from common.errors import DataError


@given(st.integers(1, 80), st.integers(1, 80), st.integers(1, 48), st.sampled_from([1, 3]), st.booleans())
def test_any_image_becomes_a_bounded_square(height: int, width: int, size: int, channels: int, colour: bool) -> None:
    shape = (height, width, 3) if colour else (height, width)
    image = np.random.default_rng(height).random(shape, dtype=np.float32)
    done = preprocess(image, size, channels)
    assert done.shape == (channels, size, size) and done.dtype == np.float32
    assert done.min() >= -1 and done.max() <= 1


def test_the_aspect_is_kept_and_the_rest_is_black() -> None:
    done = preprocess(np.ones((20, 10), np.float32), 40, 1)[0]
    assert (done[:, 10:30] == 1).all()
    assert (done[:, :10] == -1).all() and (done[:, 30:] == -1).all()


def test_an_image_of_the_right_size_is_only_normalised() -> None:
    image = np.random.default_rng(0).random((16, 16), dtype=np.float32)
    assert np.allclose(preprocess(image, 16, 1)[0], (image - 0.5) / 0.5, atol=1e-6)


def test_colour_becomes_luma_and_grey_is_repeated() -> None:
    red = np.zeros((4, 4, 3), np.float32)
    red[..., 0] = 1
    assert np.allclose(preprocess(red, 4, 1), 2 * 0.299 - 1)
    assert np.allclose(preprocess(red, 4, 3)[:, 0, 0], [1, -1, -1])
    grey = preprocess(np.full((4, 4), 0.25, np.float32), 4, 3)
    assert np.allclose(grey, -0.5)


@pytest.mark.parametrize("image", [np.zeros((4,)), np.zeros((4, 4, 2)), np.zeros((0, 4)), np.full((4, 4), np.nan)])
def test_odd_arrays_are_data_errors(image: np.ndarray) -> None:
    with pytest.raises(DataError):
        preprocess(image.astype(np.float32), 8, 1)


def batch(images: int = 6) -> torch.Tensor:
    return torch.rand((images, 1, 24, 24), generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_augmentation_follows_its_draws_alone() -> None:
    first, second = (augment(batch(), np.random.default_rng(7).random) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, augment(batch(), np.random.default_rng(8).random))
    assert first.shape == batch().shape and first.dtype == torch.float32
    assert first.min() >= -1 and first.max() <= 1


def test_one_image_does_not_change_another() -> None:
    other = batch()
    other[0] = 0.3
    left, right = (augment(images, np.random.default_rng(7).random) for images in (batch(), other))
    assert torch.equal(left[1:], right[1:])


def test_black_stays_black_and_depth_still_runs_down() -> None:
    assert (augment(torch.full((8, 1, 16, 16), -1.0), np.random.default_rng(0).random) == -1).all()
    top_bright = torch.full((64, 1, 32, 32), -1.0)
    top_bright[:, :, :16] = 1
    moved = augment(top_bright, np.random.default_rng(0).random)
    assert (moved[:, 0, 2:12, 8:24].mean((1, 2)) > moved[:, 0, 20:30, 8:24].mean((1, 2)) + 1).all()


def test_about_half_are_flipped() -> None:
    left_bright = torch.full((200, 1, 16, 16), -1.0)
    left_bright[..., :8] = 1
    moved = augment(left_bright, np.random.default_rng(3).random)
    flipped = moved[:, 0, :, 10:].mean((1, 2)) > moved[:, 0, :, :6].mean((1, 2))
    # 200 fair coins: six standard deviations.
    assert 58 <= int(flipped.sum()) <= 142


def test_tables_and_empty_batches_pass() -> None:
    table = torch.rand(3, 5)
    assert augment(table, np.random.default_rng(0).random) is table
    assert augment(batch(0), np.random.default_rng(0).random).shape == (0, 1, 24, 24)
