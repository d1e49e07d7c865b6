"""Checks of the images themselves: unreadable, empty, odd sizes, letters burned in, the same picture twice."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from common.data.checks.alike import clusters
from common.data.checks.finding import Finding, Severity
from common.data.checks.looking import Seen

ODD = 4.0
"""A side that is so many times larger or smaller than the cohort's median is odd."""
Group = list[Seen]


KINDS: Mapping[str, tuple[Severity, str, str]] = {
    "unreadable": ("error", "images that cannot be read", "Export them again, or leave them out of the manifest."),
    "constant": ("error", "images of one grey", "They show nothing: export them again, or leave them out."),
    "odd-size": (
        "warning",
        f"images with a side {ODD:g} times the median or more, or a {ODD:g}th of it or less",
        "See whether they are screenshots, thumbnails or another modality.",
    ),
    "burned-in": (
        "warning",
        "images with letters or calipers burned in",
        "A model can learn them instead of the lesion, and letters can name a person: export without annotations.",
    ),
    "alike-two-labels": (
        "error",
        "look-alike images of which some are benign and some malignant",
        "One of the labels is wrong: ask who labelled them, or leave all of them out (--fix does).",
    ),
    "alike-two-splits": (
        "error",
        "look-alike images on both sides of a split",
        "The test would be of images seen in training: give them one patient (--fix does).",
    ),
    "alike-two-patients": (
        "warning",
        "look-alike images of different patients",
        "The same picture twice counts as two women: give them one patient (--fix does).",
    ),
}
"""Code -> severity, what, how to fix it."""


def check_pictures(seen: Sequence[Seen]) -> list[Finding]:
    """Returns what is wrong with the images, each kind once."""
    readable = [one for one in seen if one.size is not None]
    alike = alike_groups(seen)
    found: dict[str, Group] = {
        "unreadable": [one for one in seen if one.size is None],
        "constant": [one for one in readable if one.flat],
        "odd-size": _odd(readable),
        "burned-in": [one for one in seen if one.overlay],
        "alike-two-labels": _torn(alike, lambda one: one.record.label),
        "alike-two-splits": _torn(alike, lambda one: one.record.split),
        "alike-two-patients": _torn(alike, lambda one: one.record.patient),
    }
    return [_finding(code, ones) for code, ones in found.items() if ones]


def alike_groups(seen: Sequence[Seen]) -> list[Group]:
    """Returns the groups of two or more images that look alike."""
    shown = [one for one in seen if one.small is not None and one.hash is not None and not one.flat]
    thumbnails = [one.small for one in shown if one.small is not None]
    hashes = [one.hash for one in shown if one.hash is not None]
    return [[shown[index] for index in group] for group in clusters(thumbnails, hashes)]


def _torn(alike: Iterable[Group], by: Callable[[Seen], object]) -> Group:
    """Returns the images of the groups that hold more than one of what ``by`` tells."""
    return [one for group in alike if len({by(one) for one in group}) > 1 for one in group]


def _odd(seen: Sequence[Seen]) -> Group:
    sizes = [one.size for one in seen if one.size is not None]
    if not sizes:
        return []
    middle = [statistics.median(size[axis] for size in sizes) for axis in (0, 1)]
    return [
        one for one in seen
        if one.size is not None
        and any(not side / ODD <= length <= side * ODD for length, side in zip(one.size, middle, strict=True))
    ]  # fmt: skip


def _finding(code: str, ones: Group) -> Finding:
    severity, what, fix = KINDS[code]
    records = tuple(one.record.image for one in ones)
    return Finding(code=code, severity=severity, what=what, count=len(ones), records=records, fix=fix)
