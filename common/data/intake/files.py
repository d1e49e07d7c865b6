"""The images and masks below a folder, and which of its files were left aside and why."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from PIL import Image

from common.data.checks.finding import Finding
from common.data.files.tree import Tree, look_below
from common.data.intake.choices import Choices
from common.data.intake.doubts import error, warning
from common.data.intake.masks import masks_among, outlines_beside, pair_masks
from common.data.intake.paths import label_of_path
from common.data.pixels.dicom_file import is_dicom
from common.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".dcm", ".dicom")
"""Of images; files of any other name are images if they are DICOM."""
BESIDE = (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".json", ".xml", ".md", ".pdf", ".html", ".yaml", ".yml", ".log")
"""Of files that are no images and that nobody misses."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What lies below a folder.

    Attributes:
        images: Relative paths, sorted.
        masks: Image -> its masks.
        findings: What was left aside.
        understood: What was found, in words.
        left_out: Why images are left out -> how many.
    """

    images: tuple[str, ...]
    masks: Mapping[str, list[str]]
    findings: tuple[Finding, ...]
    understood: str
    left_out: Mapping[str, int]


def find_files(folder: Path, choices: Choices) -> Found:
    """Returns the images and masks below the folder, also through links.

    Raises:
        DataError: There is no folder, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; name the one that holds the images")
    tree = look_below(folder)
    names = [name for name in tree.files if _is_image(folder, name)]
    once, again, torn = _once(folder, names, choices)
    masks_by_name = masks_among(once)
    every_mask = masks_by_name | outlines_beside([name for name in once if name not in masks_by_name])
    marked = [name for name in once if name in every_mask]
    images = [name for name in once if name not in every_mask]
    if not images:
        raise DataError(f"There is no image in {folder}{_instead(tree)}; expected {', '.join(SUFFIXES)} or DICOM files")
    paired, alone = pair_masks(images, marked)
    masks, unlike = _of_one_size(folder, paired)
    findings = [*_of_tree(tree, names, choices), *_of_masks(alone, unlike)]
    left = {"the same file again, through another link": again, "the same file under names of both labels": torn}
    said = f"{len(images)} images, {sum(map(len, masks.values()))} masks that go with an image"
    return Found(tuple(images), masks, tuple(findings), said, {reason: n for reason, n in left.items() if n})


def _is_image(folder: Path, name: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    if PurePosixPath(name).name.upper() == "DICOMDIR":  # the directory of a medium, which is DICOM and no image
        return False
    return suffix in SUFFIXES or (suffix not in BESIDE and is_dicom(folder / name))


def _once(folder: Path, names: list[str], choices: Choices) -> tuple[list[str], int, int]:
    """Returns each file under one name, how many other names were left out, and how many whose labels contradict."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name in names:
        stat = (folder / name).stat()
        groups.setdefault((stat.st_dev, stat.st_ino), []).append(name)
    torn = [of for of in groups.values() if len({label_of_path(name, choices)[0] for name in of}) > 1]
    kept = sorted(of[0] for of in groups.values() if of not in torn)
    left = sum(len(of) - 1 for of in groups.values() if of not in torn)
    return kept, left, sum(map(len, torn))


def _instead(tree: Tree) -> str:
    kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in tree.files)
    shown = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common(4))
    return f" among {len(tree.files)} files: {shown}" if shown else ""


def _of_tree(tree: Tree, images: list[str], choices: Choices) -> list[Finding]:
    seen = set(images)
    other = [
        n
        for n in tree.files
        if n not in seen and PurePosixPath(n).suffix.lower() not in BESIDE and PurePosixPath(n).name != "DICOMDIR"
    ]
    torn = [link for link, place in tree.again.items() if _labels(link, choices) != _labels(place, choices)]
    return [
        *error("folder-closed", "folders that may not be read", "Ask for the right to read them.", tree.closed),
        *error("folder-two-labels", "links that put one folder under two labels", "Remove the wrong one.", torn),
        *warning("links-broken", "links to nothing", "Mend them, or their images are missing.", tree.broken),
        *warning(
            "folder-again", "links to a folder that is listed already", "Its files are listed once.", [*tree.again]
        ),
        *warning("other-files", "files that are no image we read", "Export them as PNG, TIFF or DICOM.", other),
    ]


def _labels(place: str, choices: Choices) -> int | None:
    return label_of_path(f"{place}/x", choices)[0]


def _of_masks(alone: list[str], unlike: list[str]) -> list[Finding]:
    fix = "They are not written: a mask belongs beside its image, or in a folder of masks under the image's name."
    odd = "They are not written: a mask is of the size of its image. See whether they belong to others."
    return [
        *warning("mask-alone", "masks without an image of their own", fix, alone),
        *warning("mask-size", "masks of another size than their image", odd, unlike),
    ]


def _of_one_size(folder: Path, masks: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Returns the masks that are as large as their image, and those that are not; files we cannot measure are kept."""
    kept: dict[str, list[str]] = {}
    unlike = []
    for image, names in masks.items():
        size = _size(folder / image)
        fitting = [name for name in names if None in (size, own := _size(folder / name)) or own == size]
        unlike += [name for name in names if name not in fitting]
        if fitting:
            kept[image] = fitting
    return kept, unlike


def _size(path: Path) -> tuple[int, int] | None:
    """Returns the width and height of a picture by its header alone; None of DICOM and of what cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return image.size
    except (OSError, ValueError, SyntaxError):  # Pillow's words for a header that it does not know
        return None
