"""BUS-UC: 811 breast ultrasound images (358 benign, 453 malignant), a folder a class, each with images and masks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.files.tree import files_in, folders_in, is_there
from common.data.formats import required_root
from common.data.manifest import LABEL_WORDS, Dataset, Record
from common.data.pixels.images import ImageFiles
from common.data.readers.looks import by_looks, stem
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Iqbal A, Sharif M. Memory-efficient transformer network with feature fusion for breast tumor segmentation and "
    "classification task. Engineering Applications of Artificial Intelligence 127:107292, 2024. "
    "doi:10.1016/j.engappai.2023.107292. Images: BUS_UC, Mendeley Data, doi:10.17632/3ksd7w7jkx.1"
)
LICENCE = "As its page on Mendeley Data says for your version (doi:10.17632/3ksd7w7jkx)"
WORDS = ("benign", "malignant")
FOLDER = "BUS_UC"


def open_bus_uc(data: DataConfig) -> Dataset:
    """Returns BUS-UC with look-alikes as patients; the label is the folder, a mask the file of that name beside it.

    ``All``, which repeats the images without their class, is not read. Attribute finding.

    Raises:
        ConfigError, DataError: A class has no folder or no images, or an image cannot be read.
    """
    folder = _folder(required_root(data, f"the folder {FOLDER} (or the one that holds it)"))
    read = ImageFiles(folder)
    plain = [record for word in WORDS for record in _records(folder, word)]
    kept, notes = by_looks(plain, read, exclude_conflicts=data.exclude_conflicts)
    return Dataset(
        name="BUS-UC", records=kept, read=read, citation=CITATION, licence=LICENCE,
        notes=(*notes, *_notes(folder, plain)),
    )  # fmt: skip


def _folder(root: Path) -> Path:
    """Returns the folder of the two classes: the archives hold BUS_UC in BUS_UC."""
    while not _classes(root) and (root / FOLDER).is_dir():
        root = root / FOLDER
    if len(_classes(root)) < len(WORDS):
        raise DataError(f"There are no folders Benign and Malignant in {root}; expected the published layout of BUS_UC")
    return root


def _classes(root: Path) -> dict[str, str]:
    names = [path.name for path in folders_in(root)]
    found = {word: [name for name in names if name.lower() == word] for word in WORDS}
    if twice := [name for fitting in found.values() for name in fitting if len(fitting) > 1]:
        raise DataError(f"The folders {' and '.join(twice)} in {root} name one class; keep one of them")
    return {word: fitting[0] for word, fitting in found.items() if fitting}


def _images(folder: Path, word: str) -> str:
    """Returns the folder of a class's images: ``images``, or the class's own where the masks were left away."""
    name = _classes(folder)[word]
    return f"{name}/images" if (folder / name / "images").is_dir() else name


def _records(folder: Path, word: str) -> list[Record]:
    images = _images(folder, word)
    names = [path.name for path in files_in(folder / images, ".png")]
    if not names:
        raise DataError(f"There is no PNG in {folder / images}; expected the layout of BUS_UC, 001.png and so on")
    return [
        Record(
            image=f"{images}/{name}",
            patient=f"{word} {stem(name)}",  # both classes count from 001
            label=LABEL_WORDS[word],
            mask=_mask(folder, f"{images}/{name}"),
            attributes={"finding": word},
        )
        for name in names
    ]


def _mask(folder: Path, image: str) -> str:
    mask = image.replace("/images/", "/masks/")
    return mask if mask != image and is_there(folder / mask) else ""


def _notes(folder: Path, records: list[Record]) -> Iterable[str]:
    bare = sum(not record.mask for record in records)
    if bare:
        yield f"{bare} of {len(records)} images have no mask file."
    masks = {record.mask for record in records}
    places = {str(Path(record.image).parent.parent / "masks") for record in records if record.mask}
    alone = sum(
        f"{place}/{path.name}" not in masks for place in sorted(places) for path in files_in(folder / place, ".png")
    )
    if alone:
        yield f"{alone} mask files have no image of their name and are not read."
