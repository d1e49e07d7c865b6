"""Images without a lesion are left out unless asked for, and then how many they are is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.config.study import DataConfig
from common.data.formats import open_dataset
from tests.common.data.layouts import bach, inbreast, mias, vindr

SETS: dict[str, Callable[[Path], Path]] = {
    "bach": bach, "inbreast": inbreast, "mias": mias, "vindr_mammo": vindr,
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_normal_images_that_are_left_out_are_counted(tmp_path: Path, name: str) -> None:
    root = SETS[name](tmp_path)
    kept, everyone = (
        open_dataset(DataConfig(name=name, root=str(root), include_normal=normal)) for normal in (False, True)
    )
    (note,) = [note for note in kept.notes if note.startswith("Left out:") and "normal images" in note]
    assert not any("normal images" in note for note in everyone.notes)
    # A woman with a malignant breast loses her normal images in both.
    assert int(note.split()[2]) >= len(everyone.records) - len(kept.records) > 0


def test_busi_counts_its_normal_images(real_data: Path) -> None:
    dataset = open_dataset(DataConfig(name="busi", root=str(real_data / "busi")))
    assert "Left out: 100 normal images (data.include_normal=true keeps them as label 0)." in dataset.notes
