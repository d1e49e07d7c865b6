"""Checks of a manifest's lines, before they can be a data set: what no :class:`common.data.manifest.Dataset` allows."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Sequence
from pathlib import Path

from common.data.checks.finding import Finding
from common.data.checks.mending import in_one_split
from common.data.files.places import leaves, whereabouts, without_start
from common.data.manifest import Record, found_records, mask_keys, of_both_classes, spelt_in_two_ways

KINDS = {
    "file-missing": (
        "lines whose image or mask is not in the folder",
        "Copy the files, correct the column, give their folder with --images, or leave the lines out (--fix does).",
    ),
    "path-outside": (
        "lines whose path is absolute or leads out of the folder",
        "Write paths relative to the folder, or leave the lines out (--fix does).",
    ),
    "image-twice": (
        "lines that list an image which an earlier line lists",
        "Keep one line an image (--fix keeps the first, and none where they differ in patient or label).",
    ),
    "patient-two-labels": (
        "lines of patients who are both benign and malignant",
        "Correct the label, give two lesions two patients, or leave these patients out (--fix does).",
    ),
    "patient-two-splits": (
        "lines of patients who lie on both sides of a split",
        "Keep a patient in one split (--fix moves all to the first of train, val and test).",
    ),
    "patient-two-spellings": (
        "lines of patients whose identifiers differ only in case, width, blanks or invisible characters",
        "Write each patient in one way, or give two patients identifiers that look different (--fix leaves them out).",
    ),
}
"""Code -> what, how to fix it; all are errors."""


@dataclasses.dataclass(frozen=True, slots=True)
class SoundRows:
    """What was found in the lines, and those that can be a data set."""

    findings: tuple[Finding, ...]
    records: tuple[Record, ...]


def check_rows(records: Sequence[Record], folder: Path) -> SoundRows:
    """Returns what keeps the lines from being a data set, and the lines without it; reads no image.

    Args:
        records: As the manifest lists them.
        folder: That the paths start from.
    """
    records = found_records(records, folder)
    alike = spelt_in_two_ways(records)
    torn, leaking = of_both_classes(records), _in_several(records, lambda record: record.split)
    places, twice = _places(records), _repeats(records)
    outside = {at for at, record in enumerate(records) if any(leaves(key) for key in _keys(record))}
    found = {
        "file-missing": [at for at, record in enumerate(records) if at not in outside and not _there(record, folder)],
        "path-outside": sorted(outside),
        "image-twice": [at for ats in places.values() for at in ats[1:]],
        "patient-two-labels": [at for at, record in enumerate(records) if record.patient in torn],
        "patient-two-splits": [at for at, record in enumerate(records) if record.patient in leaking],
        "patient-two-spellings": [at for at, record in enumerate(records) if record.patient in alike],
    }
    dropped = {at for code, ats in found.items() if code not in ("patient-two-splits", "image-twice") for at in ats}
    kept = [record for at, record in enumerate(records) if at not in dropped | twice]
    findings = [_finding(code, [records[at].image for at in ats]) for code, ats in found.items() if ats]
    return SoundRows(tuple(_with_place(finding, len(records), folder) for finding in findings), in_one_split(kept))


def _with_place(finding: Finding, lines: int, folder: Path) -> Finding:
    """Returns the finding of files that are not there with the number of all lines, and where they may be."""
    if finding.code not in ("file-missing", "path-outside"):
        return finding
    looked = whereabouts if finding.code == "file-missing" else without_start
    hint = looked(folder, finding.records)
    fix = f"{hint[:1].upper()}{hint[1:]}. {finding.fix}" if hint else finding.fix
    return dataclasses.replace(finding, what=f"of {lines} {finding.what}", fix=fix)


def _keys(record: Record) -> tuple[str, ...]:
    return (record.image, *mask_keys(record))


def _there(record: Record, folder: Path) -> bool:
    return all((folder / key).is_file() for key in _keys(record))


def _places(records: Sequence[Record]) -> dict[str, list[int]]:
    """Returns image -> its lines."""
    places: dict[str, list[int]] = defaultdict(list)
    for at, record in enumerate(records):
        places[record.image].append(at)
    return places


def _repeats(records: Sequence[Record]) -> set[int]:
    """Returns the lines to leave out for an image that is listed again: all but the first, or all that disagree."""
    found: set[int] = set()
    for ats in _places(records).values():
        agree = len({(records[at].patient, records[at].label) for at in ats}) == 1
        found.update(ats[1:] if agree else ats)
    return found


def _in_several(records: Sequence[Record], of: Callable[[Record], Hashable]) -> Collection[str]:
    pairs = Counter(patient for patient, _ in {(record.patient, of(record)) for record in records})
    return {patient for patient, number in pairs.items() if number > 1}


def _finding(code: str, images: Sequence[str]) -> Finding:
    what, fix = KINDS[code]
    return Finding(code=code, severity="error", what=what, count=len(images), records=tuple(images), fix=fix)
