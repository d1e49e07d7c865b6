"""BUSI: 780 breast ultrasound images of Baheya Hospital, Cairo (Al-Dhabyani 2020). No patient ids are published.

Many lesions occur several times under different names, some of them with different classes, so a *patient* here is a
group of images that look alike, and groups that hold both classes are left out unless they are asked for.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.files.tree import files_in
from common.data.formats import find_folder
from common.data.manifest import MASK_SEPARATOR, Dataset, Record
from common.data.pixels.images import ImageFiles
from common.data.readers.classes import without_normal
from common.data.readers.looks import by_looks
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Al-Dhabyani W, Gomaa M, Khaled H, Fahmy A. Dataset of breast ultrasound images. Data in Brief 28:104863, 2020. "
    "doi:10.1016/j.dib.2019.104863"
)
LICENCE = "CC BY 4.0 (data paper)"
CLASSES = {"benign": 0, "malignant": 1}
_NAME = re.compile(r"(?P<word>[a-z]+) \((?P<number>\d+)\)\.png")


def open_busi(data: DataConfig) -> Dataset:
    """Returns BUSI with look-alikes as patients; ``data.include_normal`` adds the normal images as label 0.

    Raises:
        ConfigError, DataError: The folder is missing or of another layout, or an image cannot be read.
    """
    folder = find_folder(data, "Dataset_BUSI_with_GT", "malignant")
    read = ImageFiles(folder)
    words = {**CLASSES, "normal": 0} if data.include_normal else CLASSES
    plain = [record for word, label in words.items() for record in _records(folder, word, label)]
    kept, notes = by_looks(plain, read, exclude_conflicts=data.exclude_conflicts)
    if not data.include_normal:
        notes += without_normal(len(_records(folder, "normal", 0)) if (folder / "normal").is_dir() else 0)
    else:
        notes += ("Normal images are included with label 0: 'benign' then means 'not malignant'.",)
    return Dataset(
        name="BUSI",
        records=kept,
        read=read,
        citation=CITATION,
        licence=LICENCE,
        notes=notes,
    )


def _records(folder: Path, word: str, label: int) -> list[Record]:
    names = {match["number"]: path for path in files_in(folder / word, ".png") if (match := _NAME.fullmatch(path.name))}
    if not names:
        raise DataError(f"There is no '{word} (1).png' or the like in {folder / word}; expected the layout of BUSI")
    masks: dict[str, list[str]] = defaultdict(list)
    for path in files_in(folder / word, ".png"):
        if "_mask" not in path.name:
            continue
        masks[path.name.partition("_mask")[0]].append(f"{word}/{path.name}")
    return [
        Record(
            image=f"{word}/{names[number].name}",
            patient=names[number].stem,
            label=label,
            mask=MASK_SEPARATOR.join(masks[names[number].stem]),
            attributes={"finding": word},
        )
        for number in sorted(names, key=int)
    ]
