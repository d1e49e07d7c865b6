"""BUS-UC: both classes count from 001, so a name alone tells neither patient nor mask."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.manifest import Dataset, read_mask
from common.errors import DataError
from tests.common.data.layouts_screening import bus_uc


def open_uc(root: Path, **keys: object) -> Dataset:
    return open_dataset(DataConfig(name="bus_uc", root=str(root), **keys))  # type: ignore[arg-type]


def test_label_and_mask_are_those_of_the_image_s_own_folder(tmp_path: Path) -> None:
    dataset = open_uc(bus_uc(tmp_path, 3, 2))
    assert [(r.image, r.mask, r.label, r.patient) for r in dataset.records] == [
        (f"{word}/images/{n:03d}.png", f"{word}/masks/{n:03d}.png", label, f"{word.lower()} {n:03d}")
        for word, label, count in (("Benign", 0, 3), ("Malignant", 1, 2)) for n in range(1, count + 1)
    ]  # fmt: skip
    assert [read_mask(dataset, record).sum() for record in dataset.records] == [10, 20, 30, 10, 20]


def test_folders_in_folders_and_other_letter_case_are_read_alike(tmp_path: Path) -> None:
    told = open_uc(bus_uc(tmp_path / "a", 2, 2)).records
    (tmp_path / "b" / "BUS_UC").mkdir(parents=True)
    shutil.copytree(tmp_path / "a" / "BUS_UC", tmp_path / "b" / "BUS_UC" / "BUS_UC")
    assert open_uc(tmp_path / "b").records == told
    (tmp_path / "a" / "BUS_UC" / "Benign").rename(tmp_path / "a" / "BUS_UC" / "benign")
    assert [record.patient for record in open_uc(tmp_path / "a").records] == [record.patient for record in told]


def test_pictures_that_look_alike_are_one_patient_and_of_two_classes_none(tmp_path: Path) -> None:
    folder = bus_uc(tmp_path, 4, 2) / "BUS_UC"
    shutil.copy(folder / "Benign/images/001.png", folder / "Benign/images/002.png")
    shutil.copy(folder / "Benign/images/003.png", folder / "Malignant/images/001.png")
    dataset = open_uc(tmp_path)
    assert set(dataset.patients()) == {"benign 001", "benign 004", "malignant 002"}
    assert "Left out: 2 images in 1 look-alike groups that hold both classes." in dataset.notes
    assert len(open_uc(tmp_path, exclude_conflicts=False).patients()) == 5


def test_missing_masks_and_masks_without_an_image_are_counted(tmp_path: Path) -> None:
    folder = bus_uc(tmp_path, 3, 2) / "BUS_UC"
    (folder / "Benign/masks/002.png").unlink()
    (folder / "Malignant/images/002.png").unlink()
    dataset = open_uc(tmp_path)
    assert "1 of 4 images have no mask file." in dataset.notes
    assert "1 mask files have no image of their name and are not read." in dataset.notes


def test_images_without_folders_of_masks_are_read(tmp_path: Path) -> None:
    folder = bus_uc(tmp_path / "a", 2, 2) / "BUS_UC"
    for word in ("Benign", "Malignant"):
        shutil.copytree(folder / word / "images", tmp_path / "b" / word)
    dataset = open_uc(tmp_path / "b")
    assert [record.image for record in dataset.records][:2] == ["Benign/001.png", "Benign/002.png"]
    assert "4 of 4 images have no mask file." in dataset.notes


def test_another_layout_is_refused(tmp_path: Path) -> None:
    folder = bus_uc(tmp_path, 2, 2) / "BUS_UC"
    (folder / "benign").mkdir()
    with pytest.raises(DataError, match=r"Benign and benign in .* name one class"):
        open_uc(tmp_path)
    shutil.rmtree(folder / "benign")
    shutil.rmtree(folder / "Malignant")
    with pytest.raises(DataError, match="no folders Benign and Malignant"):
        open_uc(tmp_path)
    (folder / "Malignant" / "images").mkdir(parents=True)
    with pytest.raises(DataError, match="There is no PNG in"):
        open_uc(tmp_path)
