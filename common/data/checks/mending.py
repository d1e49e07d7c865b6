"""A manifest without what the checks found wrong; no image is touched."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence

from common.data.checks.looking import Seen
from common.data.checks.pictures import alike_groups
from common.data.manifest import SPLITS, Record


def mended(seen: Sequence[Seen]) -> tuple[Record, ...]:
    """Returns the records to keep, in their order; all of them have a split, or none.

    Left out: images that cannot be read or are of one grey, and every patient in a group of look-alikes that holds
    both classes. Patients whose images look alike become one, named as the first of them, in the split that
    :func:`earliest_split` tells. Where that leaves a split without a class, every split is emptied, so that the
    patients are divided anew.
    """
    leader = _leaders(seen)
    torn = _torn(seen, leader)
    sound = [one for one in seen if one.size is not None and not one.flat and leader[one.record.patient] not in torn]
    joined = [dataclasses.replace(one.record, patient=leader[one.record.patient]) for one in sound]
    kept = in_one_split(joined)
    return kept if _divided(kept) else tuple(dataclasses.replace(record, split="") for record in kept)


def in_one_split(records: Iterable[Record]) -> tuple[Record, ...]:
    """Returns the records with all of a patient's in the split that :func:`earliest_split` tells."""
    records = tuple(records)
    splits: dict[str, set[str]] = defaultdict(set)
    for record in records:
        splits[record.patient].add(record.split)
    return tuple(dataclasses.replace(record, split=earliest_split(splits[record.patient])) for record in records)


def earliest_split(splits: Iterable[str]) -> str:
    """Returns train before val before test: a patient who was trained on never becomes one to be tested on."""
    return min(splits, key=lambda split: SPLITS.index(split) if split in SPLITS else len(SPLITS))


def _divided(records: Sequence[Record]) -> bool:
    """Returns whether all have a split and each split both classes, as a published division must."""
    present = {(record.split, record.label) for record in records}
    return all(record.split for record in records) and all(
        (split, label) in present for split in SPLITS for label in (0, 1)
    )


def _leaders(seen: Sequence[Seen]) -> dict[str, str]:
    """Returns patient -> the patient that stands for all who share a picture, directly or through others."""
    leader = {one.record.patient: one.record.patient for one in seen}

    def top(patient: str) -> str:
        while leader[patient] != patient:
            patient = leader[patient]
        return patient

    for group in alike_groups(seen):
        first = top(group[0].record.patient)
        for one in group[1:]:
            leader[top(one.record.patient)] = first
    return {patient: top(patient) for patient in leader}


def _torn(seen: Sequence[Seen], leader: dict[str, str]) -> set[str]:
    labels: dict[str, set[int]] = {}
    for one in seen:
        labels.setdefault(leader[one.record.patient], set()).add(one.record.label)
    return {patient for patient, found in labels.items() if len(found) > 1}
