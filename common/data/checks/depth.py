"""Checks of how images were saved: bits a pixel unlike the others', a range that is not used, a mask for an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from common.data.checks.finding import Finding
from common.data.checks.looking import Seen

DIM = 0.125
"""Part of its range, at its dark or bright end, that is too little for an image; 12 bits saved as 16 reach 0.0625."""
DIM_DEEP = 0.25
"""The same of files of 16 bits: 14 bits saved as 16 reach 0.25."""
FEW = 16
"""Grey values under which a picture is a mask or a drawing; ultrasound and X-rays have a hundred or more."""
KINDS = {
    "odd-depth": (
        "images with other bits a pixel than most",
        "See whether they came by another export; windowing and grey levels may differ with it.",
    ),
    "dim": (
        f"images that use less than {DIM:.3g} of their range (of 16 bits: {DIM_DEEP:.3g})",
        "10, 12 or 14 bits saved as 16, for one: export with the full range, or as DICOM.",
    ),
    "few-greys": (f"images of fewer than {FEW} grey values", "They look like masks: check the image column."),
}


def check_depth(seen: Sequence[Seen]) -> list[Finding]:
    """Returns what is odd in how images were saved, each kind once; all are warnings."""
    shown = [one for one in seen if one.size is not None and not one.flat]
    found = {
        "odd-depth": _odd(shown),
        "dim": [one for one in shown if _unused(one)],
        "few-greys": [one for one in shown if one.greys < FEW],
    }
    return [_finding(code, ones) for code, ones in found.items() if ones]


def _unused(one: Seen) -> bool:
    part = DIM_DEEP if one.bits == 16 else DIM
    return one.peak < part or one.low > 1 - part


def _odd(shown: Sequence[Seen]) -> list[Seen]:
    known = [one for one in shown if one.bits]
    if not known:
        return []
    most = Counter(one.bits for one in known).most_common(1)[0][0]
    return [one for one in known if one.bits != most]


def _finding(code: str, ones: Sequence[Seen]) -> Finding:
    what, fix = KINDS[code]
    records = tuple(one.record.image for one in ones)
    return Finding(code=code, severity="warning", what=what, count=len(ones), records=records, fix=fix)
