"""A mask lies on the network input where its lesion does: checked with images whose bright spot is the lesion."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.study import DataConfig
from common.data.loading import to_tensors
from common.data.manifest import Dataset, Record
from common.data.pixels.masks import shown
from common.errors import ConfigError, DataError

DATA = dataclasses.replace(DataConfig(), image_size=32, channels=1)


def _dataset(read: Callable[[str], np.ndarray], mask: str = "mask") -> Dataset:
    return Dataset(name="spots", records=(Record("image", "p", 1, mask=mask), Record("other", "q", 0)), read=read)


def _spot(height: int, width: int, row: int, column: int) -> np.ndarray:
    spot = np.zeros((height, width), dtype=np.float32)
    spot[row : row + height // 4, column : column + width // 4] = 1
    return spot


@given(st.integers(12, 90), st.integers(12, 90), st.data())
def test_the_mask_follows_the_image_through_resizing_and_padding(height: int, width: int, data: st.DataObject) -> None:
    row, column = data.draw(st.integers(0, height * 3 // 4)), data.draw(st.integers(0, width * 3 // 4))
    spot = _spot(height, width, row, column)
    dataset = _dataset(lambda key: spot)
    found = shown(dataset, dataset.records[0], DATA)
    pixels = to_tensors(dataset, DATA).inputs[0, 0].numpy()

    assert found.lesion is not None and found.lesion.shape == (32, 32)
    np.testing.assert_array_equal(found.lesion, pixels > 0)
    top, bottom, left, right = found.box
    assert max(bottom - top, right - left) == 32
    assert (bottom - top) / (right - left) == pytest.approx(height / width, rel=0.2)


def test_the_mask_of_a_mammogram_is_cropped_and_turned_with_the_breast() -> None:
    breast = np.zeros((60, 80), dtype=np.float32)
    breast[10:50, 45:80] = 0.6
    lesion = np.zeros_like(breast)
    lesion[20:28, 60:68] = 1
    image = np.maximum(breast, lesion)
    data = dataclasses.replace(DATA, breast_crop=True)
    dataset = _dataset(lambda key: lesion if key == "mask" else image)

    found = shown(dataset, dataset.records[0], data).lesion
    pixels = to_tensors(dataset, data).inputs[0, 0].numpy()
    assert found is not None and found.sum() > 20
    assert pixels[found].min() > 0.3 > pixels[~found].mean()


def test_without_a_mask_there_is_only_the_box() -> None:
    dataset = _dataset(lambda key: np.ones((16, 32), dtype=np.float32))
    found = shown(dataset, dataset.records[1], DATA)
    assert found.lesion is None
    assert found.box == (8, 24, 0, 32)


def test_a_mask_of_another_size_and_a_table_are_refused() -> None:
    dataset = _dataset(lambda key: np.ones((16, 16 if key == "mask" else 32), dtype=np.float32))
    with pytest.raises(DataError, match="export masks at the size"):
        shown(dataset, dataset.records[0], DATA)
    table = dataclasses.replace(dataset, kind="table", features=3)
    with pytest.raises(ConfigError, match="is a table"):
        shown(table, table.records[0], DATA)
