"""Patients of sets that publish no patient ids: a group of images that look alike is one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from common.data.lookalikes import groups, thumbnail
from common.data.manifest import PixelSource, Record, of_both_classes


def by_looks(
    records: Sequence[Record], read: PixelSource, *, exclude_conflicts: bool
) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Returns the records with the name of their group's first one as the patient, and notes of what was done.

    The records come with a name of their own as the patient. Groups of both classes are left out; without
    ``exclude_conflicts`` their halves, told by the attribute ``finding``, count as two patients.
    """
    leaders = groups([thumbnail(read(record.image)) for record in records])
    grouped = [
        dataclasses.replace(record, patient=records[at].patient) for record, at in zip(records, leaders, strict=True)
    ]
    torn = of_both_classes(grouped)
    kept = _without(grouped, torn) if exclude_conflicts else _told_apart(grouped, torn)
    return tuple(kept), tuple(_notes(grouped, torn, exclude_conflicts=exclude_conflicts))


def stem(image: str) -> str:
    """Returns the name of a file without folder and ending."""
    return PurePosixPath(image).stem


def _without(records: Iterable[Record], torn: set[str]) -> list[Record]:
    return [record for record in records if record.patient not in torn]


def _told_apart(records: Iterable[Record], torn: set[str]) -> list[Record]:
    return [
        dataclasses.replace(record, patient=f"{record.patient} as {record.attributes['finding']}")
        if record.patient in torn
        else record
        for record in records
    ]


def _notes(records: Sequence[Record], torn: set[str], *, exclude_conflicts: bool) -> Iterable[str]:
    sizes = Counter(record.patient for record in records)
    alike = [size for size in sizes.values() if size > 1]
    yield (
        "No patient ids are published: a patient is a group of images that look alike "
        f"({len(alike)} groups of {sum(alike)} images), so two views of one woman can still count as two patients."
    )
    images = sum(sizes[patient] for patient in torn)
    if torn and exclude_conflicts:
        yield f"Left out: {images} images in {len(torn)} look-alike groups that hold both classes."
    elif torn:
        yield f"{images} images in {len(torn)} look-alike groups hold both classes; the halves count as two patients."
