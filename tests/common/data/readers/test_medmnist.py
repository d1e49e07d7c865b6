"""MedMNIST's larger files: the size that fits the study is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.config.study import DataConfig
from common.data.formats import open_dataset


def write(root: Path, side: int) -> None:
    arrays = {f"{split}_images": np.full((2, side, side), 9, dtype=np.uint8) for split in ("train", "val", "test")}
    arrays |= {f"{split}_labels": np.array([[0], [1]], dtype=np.uint8) for split in ("train", "val", "test")}
    np.savez(root / ("breastmnist.npz" if side == 28 else f"breastmnist_{side}.npz"), **arrays)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "there", "taken"),
    [(28, (28, 64, 224), 28), (32, (28, 64, 224), 64), (100, (28, 64, 224), 224), (224, (28, 64), 64), (64, (28,), 28)],
)
def test_the_nearest_size_that_need_not_be_enlarged_is_taken(
    asked: int, there: tuple[int, ...], taken: int, tmp_path: Path
) -> None:
    for side in there:
        write(tmp_path, side)
    dataset = open_dataset(DataConfig(name="breastmnist", root=str(tmp_path), image_size=asked))
    assert dataset.read("val/0001").shape == (taken, taken)
    assert [record.label for record in dataset.in_split("test").records] == [1, 0]
