"""What the parts of a path are for: a split, a label, a place for images or masks; what is left may name a patient."""

from __future__ import annotations

from pathlib import PurePosixPath

from common.data.intake.choices import Choices
from common.data.intake.words import label_of_name, one_spelling

SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
IMAGE_WORDS = frozenset({
    "images", "image", "img", "imgs", "png", "pngs", "jpg", "jpeg", "jpegs", "tif", "tiff", "bmp", "dicom", "dicoms",
    "data", "dataset", "original", "originals", "scans", "pictures", "photos", "bilder", "ultrasound", "mammograms",
})  # fmt: skip
MASK_WORDS = frozenset({
    "mask", "masks", "roi", "rois", "annotations", "segmentation", "segmentations", "ground truth", "groundtruth", "gt",
})  # fmt: skip


def split_of(image: str) -> str:
    """Returns the split that a folder in the path names; empty where none does, or two differ."""
    found = {SPLIT_WORDS[word] for part in _folders(image) if (word := one_spelling(part)) in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else ""


def label_of_path(image: str, choices: Choices) -> tuple[int | None, bool]:
    """Returns the label that folders and the file's name tell, and whether one speaks of a label but leaves doubt.

    With ``choices.malignant`` and ``choices.benign``, only folders of these names tell.
    """
    if choices.malignant or choices.benign:
        words = {one_spelling(part) for part in _folders(image)}
        said = {1 for word in choices.malignant if one_spelling(word) in words}
        said |= {0 for word in choices.benign if one_spelling(word) in words}
        return (said.pop(), False) if len(said) == 1 else (None, len(said) > 1)
    told = [label_of_name(part, folder=True) for part in _folders(image)]
    told.append(label_of_name(PurePosixPath(image).stem, folder=False))
    labels = {label for label, _ in told if label is not None}
    doubt = any(doubt for _, doubt in told) or len(labels) > 1
    return (None, doubt) if doubt or not labels else (labels.pop(), False)


def telling_folders(image: str, choices: Choices) -> tuple[str, ...]:
    """Returns the folders of the path that name no split, label, kind of file or mask: they may name a patient."""
    named = {one_spelling(word) for word in (*choices.malignant, *choices.benign)}
    return tuple(part for part in _folders(image) if not _is_for_else(part, named))


def without_words(image: str, *words: frozenset[str]) -> tuple[str, ...]:
    """Returns the folders of the path without those whose name is one of the words."""
    return tuple(part for part in _folders(image) if not any(one_spelling(part) in some for some in words))


def _is_for_else(part: str, named: set[str]) -> bool:
    word = one_spelling(part)
    label, doubt = label_of_name(part, folder=True)
    known = word in SPLIT_WORDS or word in IMAGE_WORDS or word in MASK_WORDS or word in named
    return known or label is not None or doubt or word in ("normal", "normals", "cancer", "non cancer", "healthy")


def _folders(image: str) -> tuple[str, ...]:
    return PurePosixPath(image).parts[:-1]
