"""The cache gives what decoding gives, decodes once, and never believes a file that is another's or damaged."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.config.study import DataConfig
from common.data import cache as cache_module
from common.data.loading import to_tensors
from common.data.manifest import Dataset, Record
from common.data.pixels.images import ImageFiles
from common.errors import DataError

CONFIG = DataConfig(name="manifest", image_size=16)


def picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(5):
        picture(folder / f"{number}.png", number)
    records = tuple(Record(f"{number}.png", f"p{number}", number % 2) for number in range(5))
    return Dataset("x", records, read=ImageFiles(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be decoded any more."""

    def refuse(self: ImageFiles, key: str) -> None:
        raise DataError("decoded again")

    monkeypatch.setattr(ImageFiles, "__call__", refuse)


def test_it_gives_what_decoding_gives_bit_for_bit(dataset: Dataset, folder: Path) -> None:
    plain = to_tensors(dataset, CONFIG).inputs
    assert torch.equal(to_tensors(dataset, CONFIG, folder).inputs, plain)
    assert torch.equal(to_tensors(dataset, CONFIG, folder).inputs, plain)
    assert len(list(folder.iterdir())) == 1


def test_a_second_look_decodes_nothing(dataset: Dataset, folder: Path, request: pytest.FixtureRequest) -> None:
    first = to_tensors(dataset, CONFIG, folder).inputs
    request.getfixturevalue("blind")
    assert torch.equal(to_tensors(dataset, CONFIG, folder).inputs, first)


def test_a_file_that_changed_is_seen(dataset: Dataset, folder: Path) -> None:
    before = to_tensors(dataset, CONFIG, folder).inputs
    assert isinstance(dataset.read, ImageFiles)
    picture(dataset.read.folder / "3.png", 99)
    os.utime(dataset.read.folder / "3.png", ns=(1, 1))
    after = to_tensors(dataset, CONFIG, folder).inputs
    assert torch.equal(after, to_tensors(dataset, CONFIG).inputs)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, True, False, True]


@pytest.mark.parametrize("other", [{"image_size": 12}, {"channels": 3}, {"breast_crop": True}])
def test_other_preprocessing_is_another_file(dataset: Dataset, folder: Path, other: dict[str, int]) -> None:
    changed = DataConfig(**{"name": "manifest", "image_size": 16, **other})  # type: ignore[arg-type]
    to_tensors(dataset, CONFIG, folder)
    assert torch.equal(to_tensors(dataset, changed, folder).inputs, to_tensors(dataset, changed).inputs)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("left", [0, 3, 200, 1000])
def test_a_damaged_file_is_made_again(dataset: Dataset, folder: Path, left: int) -> None:
    plain = to_tensors(dataset, CONFIG, folder).inputs.clone()
    (made,) = folder.iterdir()
    made.write_bytes(made.read_bytes()[:left])
    assert torch.equal(to_tensors(dataset, CONFIG, folder).inputs, plain)


def test_what_is_written_to_the_tensor_stays_in_memory(dataset: Dataset, folder: Path) -> None:
    to_tensors(dataset, CONFIG, folder).inputs.fill_(7.0)
    assert torch.equal(to_tensors(dataset, CONFIG, folder).inputs, to_tensors(dataset, CONFIG).inputs)


def test_a_full_disk_is_said_and_leaves_nothing(
    dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"No space left.*free the disk"):
        to_tensors(dataset, CONFIG, folder)
    assert list(folder.iterdir()) == []


def test_images_that_cannot_be_read_leave_nothing(dataset: Dataset, folder: Path, blind: None) -> None:
    with pytest.raises(DataError, match="5 of 5 images"):
        to_tensors(dataset, CONFIG, folder)
    assert list(folder.iterdir()) == []


def test_only_the_owner_may_look(dataset: Dataset, folder: Path) -> None:
    to_tensors(dataset, CONFIG, folder)
    assert [path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())] == [0o700, 0o600]


def test_images_that_are_no_files_stay_in_memory(folder: Path) -> None:
    made = Dataset("x", (Record("1", "a", 0),), read=lambda key: np.full((4, 4), 0.5, np.float32))
    assert to_tensors(made, CONFIG, folder).inputs.shape == (1, 1, 16, 16)
    assert not folder.exists()


def test_old_files_go(dataset: Dataset, folder: Path) -> None:
    for size in range(4, 6 + cache_module.KEPT):
        to_tensors(dataset, DataConfig(name="manifest", image_size=size), folder)
    assert len(list(folder.iterdir())) == cache_module.KEPT
