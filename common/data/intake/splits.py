"""Published folders train, val and test as the split, where it is asked for; otherwise that they are there is said."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from common.data.checks.finding import Finding
from common.data.intake.doubts import error, warning
from common.data.intake.paths import split_of
from common.data.manifest import Record
from common.data.readers.classes import with_validation

TRAIN_SHARE, VAL_SHARE = 0.70, 0.15
"""Where no folder of validation is published, a part of the patients of ``train`` becomes ``val``: 15 of 85."""


def publish_split(records: Sequence[Record], *, keep: bool) -> tuple[tuple[Record, ...], list[str], list[Finding]]:
    """Returns the records with the split of their folders if it is kept, what was understood, and what leaves doubt.

    Without a folder ``test``, ``val`` is what was held out and becomes ``test``. Without one for validation, part of
    the patients of ``train`` become ``val``. No image of ``train`` ever becomes one of ``test``.
    """
    splits = [split_of(record.image) for record in records]
    there = Counter(filter(None, splits))
    if len(there) < 2:
        return tuple(records), [], _absent() if keep else []
    named = ", ".join(f"{name} ({there[name]})" for name in sorted(there))
    if not keep:
        fix = "It is not kept, and patients are divided anew; keep it with --keep-split."
        what = f"images in folders of a published split: {named}"
        return tuple(records), [], warning("split-dropped", what, fix, count=sum(there.values()))
    outside = [record.image for record, split in zip(records, splits, strict=True) if not split]
    if outside:
        fix = "Leave --keep-split out, or move them."
        return tuple(records), [], error("split-partial", "images in none of the folders of the split", fix, outside)
    kept = [dataclasses.replace(record, split=split) for record, split in zip(records, splits, strict=True)]
    said = [f"the split is that of the folders: {named}"]
    if "test" not in there:
        kept = [dataclasses.replace(record, split="test" if record.split == "val" else record.split) for record in kept]
        said.append("no folder test: val was held out and becomes test")
    findings = _leaking(kept)
    if not any(record.split == "val" for record in kept) and not findings:
        kept = list(with_validation(kept, train_share=TRAIN_SHARE, val_share=VAL_SHARE))
        said.append("part of the patients of train become val, by a hash of each")
    return tuple(kept), said, findings


def _absent() -> list[Finding]:
    what = "split asked for, and no folders train, val and test"
    return error("split-absent", what, "Leave --keep-split out.", count=1)


def _leaking(records: Sequence[Record]) -> list[Finding]:
    splits: dict[str, set[str]] = {}
    for record in records:
        splits.setdefault(record.patient, set()).add(record.split)
    leaking = [record.image for record in records if len(splits[record.patient]) > 1]
    what = "images of patients in several folders of the published split"
    return error(
        "split-leaks", what, "The test would be of patients seen in training: leave --keep-split out.", leaking
    )
