"""Images whose names say that they were made from another: turned, mirrored or otherwise augmented copies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from common.data.intake.paths import SPLIT_WORDS, without_words

_MADE = re.compile(
    r"[-_ .]+(rotated?|rot|flip(ped)?|[hv]flip|mirror(ed)?|aug(mented)?|noisy?|noise|blur(red)?|zoom(ed)?|shear(ed)?|"
    r"bright(ness)?|contrast|elastic|shift(ed)?|scaled?|sharp(ened)?|translated?|turned)[-_ ]*\d*$",
    re.IGNORECASE,
)


def stem_of_original(stem: str) -> str:
    """Returns the name without the endings that tell of a copy.

    >>> stem_of_original("benign (1)-rotated2"), stem_of_original("u1_hflip_rot90"), stem_of_original("u1")
    ('benign (1)', 'u1', 'u1')
    """
    shorter = _MADE.sub("", stem)
    return stem_of_original(shorter) if shorter and shorter != stem else stem


def originals(images: Sequence[str]) -> dict[str, str]:
    """Returns image -> the image that it was made from by its name, itself if by none.

    The original lies at the same place but for folders of splits; where it is not there, the first copy stands for it.
    """
    first: dict[tuple[tuple[str, ...], str], str] = {}
    order = sorted(images, key=lambda image: (len(PurePosixPath(image).stem), image))
    found = {}
    for image in order:
        stem = PurePosixPath(image).stem
        key = without_words(image, frozenset(SPLIT_WORDS)), stem_of_original(stem)
        own = stem == key[1]
        found[image] = image if own else first.get(key, image)
        first.setdefault(key, image)
    return {image: found[image] for image in images}
