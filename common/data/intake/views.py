"""Side and view of a mammogram in its file's name, as in ``1_L_CC``, ``LMLO`` or ``right-mlo``."""

from __future__ import annotations

import re

_SIDES = {"L": "left", "LEFT": "left", "LT": "left", "R": "right", "RIGHT": "right", "RT": "right"}
VIEWS = ("XCCL", "XCCM", "LMO", "MLO", "CC", "ML", "LM")
_BOTH = re.compile(rf"(L|R|LEFT|RIGHT)({'|'.join(VIEWS)})")
LOOSE = frozenset({
    "IMG", "IMAGE", "IM", "SCAN", "US", "MG", "PIC", "PHOTO", "SLICE", "FRAME", "VIEW", "LESION", "MASS", "CALC",
    "ANON", "MAMMO", "FULL", "PRESENTATION", "PROCESSING", "BENIGN", "MALIGNANT",
})  # fmt: skip
"""Other words of a name that tell no patient from another."""


def side_and_view_of_name(stem: str) -> tuple[str, str]:
    """Returns ``left`` or ``right``, and the view; empty where the name tells none, or two.

    >>> side_and_view_of_name("1_L_CC"), side_and_view_of_name("LMLO")
    (('left', 'CC'), ('left', 'MLO'))
    """
    words = _words(stem)
    sides, views = {_SIDES[word] for word in words if word in _SIDES}, {word for word in words if word in VIEWS}
    return (sides.pop() if len(sides) == 1 else "", views.pop() if len(views) == 1 else "")


def tells_no_patient(text: str) -> bool:
    """Returns whether the text names a picture of somebody and nobody: sides, views, single letters, short numbers."""
    return all(
        word in _SIDES or word in VIEWS or word in LOOSE or len(word) == 1 or (word.isdigit() and len(word) <= 3)
        for word in _words(text)
    )


def _words(text: str) -> list[str]:
    words = re.findall(r"[^\W\d_]+|\d+", text.upper())
    parted = [match.groups() if (match := _BOTH.fullmatch(word)) else (word,) for word in words]
    return [word for group in parted for word in group]
