"""Which mask belongs to which image: the one beside it, or at its place in a folder of masks; never by a bare name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from pathlib import PurePosixPath

from common.data.intake.paths import IMAGE_WORDS, MASK_WORDS
from common.data.intake.words import one_spelling, words_of

_MASK = re.compile(r"(?:^|[_ -])masks?([_ -]?\d+)?$", re.IGNORECASE)
_ENDING = re.compile(
    r"[_ -](gt|seg|segmentation|groundtruth|roi|contour|outline|annotation|tumou?r|lesion|label)([_ -]?\d+)?$",
    re.IGNORECASE,
)
"""Endings of masks that may end an image's name too: they count only beside the image itself."""
_BEFORE = re.compile(r"^masks?[_ -]", re.IGNORECASE)
Key = tuple[tuple[str, ...], str]


def masks_among(names: Sequence[str]) -> set[str]:
    """Returns the paths of masks: ``x_mask.png``, ``x_mask_1.png``, and any file in a folder of masks.

    A folder that holds everything, or images beside their masks, is none, whatever it is called:
    ``Dataset_BUSI_with_GT`` is a whole data set.
    """
    by_name = {name for name in names if _MASK.search(_stem(name))}
    below: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in names:
        folders = PurePosixPath(name).parts[:-1]
        for depth, part in enumerate(folders, start=1):
            if _is_for(part, MASK_WORDS):
                below[folders[:depth]].append(name)
    of_masks = [found for found in below.values() if len(found) < len(names) and not _is_mixed(found, by_name)]
    return by_name.union(*of_masks)


def _is_mixed(names: Sequence[str], masks: Set[str]) -> bool:
    """Returns whether a folder holds masks by their names beside images of the same names."""
    images = {(PurePosixPath(name).parent, _stem(name)) for name in names if name not in masks}
    return any((PurePosixPath(name).parent, _mask_stem(name)) in images for name in names if name in masks)


def outlines_beside(names: Sequence[str]) -> set[str]:
    """Returns the files that are called as another in their folder with an ending such as ``_gt`` or ``_tumor``."""
    places = {(PurePosixPath(name).parent, _stem(name)) for name in names}
    return {
        name
        for name in names
        if (match := _ENDING.search(_stem(name)))
        and (PurePosixPath(name).parent, _stem(name)[: match.start()]) in places
    }


def pair_masks(images: Sequence[str], masks: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Returns image -> its masks, and the masks that belong to no image or could belong to several.

    A mask's place is its path without the folder of masks and its name without ``_mask``, an image's is its path
    without the folder of images. They belong together when both are the same; or when the name is that of one image
    and of one place of masks, and the folders of the one are among those of the other.
    """
    exact: dict[Key, list[str]] = defaultdict(list)
    by_stem: dict[str, list[str]] = defaultdict(list)
    for image in images:
        exact[_place(image), _stem(image)].append(image)
        by_stem[_stem(image)].append(image)
    places: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    marked = [(mask, _place(mask), stem) for mask in sorted(masks) for stem in [_mask_stem(mask)]]
    for _, place, stem in marked:
        places[stem].add(place)
    paired: dict[str, list[str]] = defaultdict(list)
    alone = []
    for mask, place, stem in marked:
        owners = exact.get((place, stem)) or exact.get((place, f"bus_{stem}")) or []
        owners = owners or _by_name(by_stem, places, place, stem)
        if len(owners) == 1:
            paired[owners[0]].append(mask)
        else:
            alone.append(mask)
    return dict(paired), alone


def _by_name(
    by_stem: dict[str, list[str]], places: dict[str, set[tuple[str, ...]]], place: tuple[str, ...], stem: str
) -> list[str]:  # fmt: skip
    owners = by_stem.get(stem) or by_stem.get(f"bus_{stem}") or []
    alone = len(owners) == 1 and len(places[stem]) == 1
    return [owner for owner in owners if alone and _agree(_place(owner), place)]


def _agree(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Returns whether the folders of one are the first or the last of the other's."""
    short, long = sorted((one, other), key=len)
    return not short or long[: len(short)] == short or long[-len(short) :] == short


def _place(name: str) -> tuple[str, ...]:
    """Returns the folders in lower case without words for masks and images; ``Benign mask`` is ``benign``."""
    parts = (_without(part) for part in PurePosixPath(name).parts[:-1])
    return tuple(part for part in parts if part)


def _without(part: str) -> str:
    if one_spelling(part) in IMAGE_WORDS:
        return ""
    if not _is_for(part, MASK_WORDS):
        return part.casefold()
    words = [word for word in one_spelling(part).split() if word not in MASK_WORDS | {"ground", "truth"}]
    return " ".join(words)


def _is_for(part: str, words: frozenset[str]) -> bool:
    return one_spelling(part) in words or any(word in words for word in words_of(part))


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _mask_stem(name: str) -> str:
    stem = _stem(name)
    for ending in (_MASK, _ENDING):
        if ending.search(stem) and ending.sub("", stem):
            return ending.sub("", stem)
    return _BEFORE.sub("", stem)
