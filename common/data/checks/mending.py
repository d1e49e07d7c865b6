"""A manifest without what the checks found wrong; no image is touched."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from common.data.checks.looking import Seen
from common.data.checks.pictures import alike_groups
from common.data.manifest import Record


def mended(seen: Sequence[Seen]) -> tuple[Record, ...]:
    """Returns the records to keep, in their order.

    Left out: images that cannot be read or are of one grey, and every patient in a group of look-alikes that holds
    both classes. Patients whose images look alike become one, named as the first of them, and lose their split, so
    that the next division keeps them together.
    """
    leader = _leaders(seen)
    torn = _torn(seen, leader)
    kept = []
    for one in seen:
        patient = leader[one.record.patient]
        if one.size is None or one.flat or patient in torn:
            continue
        joined = sum(leader[other] == patient for other in leader) > 1
        split = "" if joined else one.record.split
        kept.append(dataclasses.replace(one.record, patient=patient, split=split))
    return tuple(kept)


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
