"""A first manifest from what a hospital has: a folder of images or DICOM files, and perhaps a table of labels.

It is a proposal: it says what it understood and from where. What is not certain is left out and counted, or is a
finding that names the choices; nothing is guessed where a person would have to.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from common.data.checks.finding import Finding
from common.data.files.delimited import read_table
from common.data.intake.choices import Choices
from common.data.intake.doubts import error, warning
from common.data.intake.files import find_files
from common.data.intake.headers import Header, read_headers
from common.data.intake.joined import Joined
from common.data.intake.joining import join
from common.data.intake.labels import label_column, worst
from common.data.intake.paths import label_of_path
from common.data.intake.patients import tell_patients
from common.data.intake.splits import publish_split
from common.data.intake.words import one_spelling
from common.data.manifest import MASK_SEPARATOR, Record, of_both_classes
from common.data.readers.classes import one_label
from common.errors import DataError

NO_LABEL = "no certain label"
DOUBTFUL = "a folder or name that speaks of a label and leaves doubt"
NO_ROW = "no row of the table"
ROWS_DISAGREE = "rows of which one holds no certain label and none is malignant"
CONTRADICTED = "folder or name that tells another label than the table"
NO_PATIENT = "no patient"
BOTH = "patient with both labels"
OTHER_BENIGN = "benign, of a patient who has malignant ones"


@dataclasses.dataclass(frozen=True, slots=True)
class Proposal:
    """Records that could be made out, why others were not, what was understood from where, and what leaves doubt.

    An error among the findings keeps the proposal from being written.
    """

    records: tuple[Record, ...]
    left_out: Mapping[str, int]
    understood: tuple[str, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)


@dataclasses.dataclass(frozen=True)
class _Label:
    """An image's label, or why it has none."""

    value: int | None
    reason: str = ""


def propose(folder: Path, table: Path | None = None, choices: Choices | None = None) -> Proposal:
    """Returns a proposal for the images below ``folder``, with paths relative to it.

    Args:
        folder: Searched with all folders in it and links to folders.
        table: With a row an image, a lesion, a breast or a patient.
        choices: What a person decided where there was doubt.

    Raises:
        DataError: There is no folder or no image in it; the table cannot be read, names none of the images, or leaves
            doubt which column holds the labels; or a choice names what is not there.
    """
    choices = choices or Choices()
    found = find_files(folder, choices)
    headers = read_headers(folder, found.images)
    said, findings = [found.understood], list(found.findings)
    joined = None if table is None else _joined(found.images, table, headers, choices, said, findings)
    labels = {image: _path_label(image, choices) for image in found.images} if joined is None else _row_labels(
        found.images, joined, choices, said)  # fmt: skip
    told = tell_patients(found.images, joined, headers, choices)
    said.append(told.said)
    said += _unused_columns(joined, said)
    records, left = _records(found.images, found.masks, labels, told.of)
    kept, torn = _one_label(records, by_table=joined is not None)
    split, words, doubts = publish_split(kept, keep=choices.keep_split)
    doubts += _of_labels(labels, choices)
    if told.certain:
        doubts += _of_classes(split)
    counted = Counter(found.left_out) + left + torn
    return Proposal(split, dict(counted), (*said, *words), (*findings, *told.findings, *doubts))


def _of_labels(labels: Mapping[str, _Label], choices: Choices) -> list[Finding]:
    """Returns which folders tell no certain label."""
    open_ = {image: label.reason for image, label in labels.items() if label.reason in (NO_LABEL, DOUBTFUL)}
    by_path = NO_ROW not in {label.reason for label in labels.values()} and not choices.label_column
    folders = Counter(PurePosixPath(image).parent.as_posix() for image in open_) if by_path else {}
    shown = [f"{folder} ({count})" for folder, count in sorted(folders.items())]
    fix = "Name folders, or words of a table's column, with --malignant and --benign."
    return warning("label-open", "images without a certain label", fix, shown, count=len(open_)) if shown else []


def _of_classes(records: Sequence[Record]) -> list[Finding]:
    """Returns whether a class is missing altogether: then half of the images were not understood."""
    classes = {record.label for record in records}
    if len(classes) == 2:
        return []
    there = "malignant only" if 1 in classes else "benign only" if 0 in classes else "none"
    what = f"class without an image: those that are certain are {there}"
    fix = "Give a table with --labels, or name folders with --malignant and --benign."
    return error("class-missing", what, fix, count=1)


def _joined(
    images: Sequence[str], table: Path, headers: Mapping[str, Header], choices: Choices, said: list[str],
    findings: list[Finding],
) -> Joined:  # fmt: skip
    read = read_table(table)
    if not read.rows:
        raise DataError(f"{table} has no rows below its header")
    joined = join(images, read.rows, headers, choices)
    said += [*read.notes, f"{joined.said} ({table.name}: {len(read.rows)} rows for {len(joined.rows)} images)"]
    fix = "See whether images are missing."
    findings += warning("rows-unused", "rows of the table that name no image here", fix, count=joined.unused)
    what = "images whose name stands in several folders, so that a row names none of them"
    fix = "Write their paths in the table, or add a column of their folders."
    findings += warning("name-repeats", what, fix, count=joined.ambiguous)
    return joined


def _path_label(image: str, choices: Choices) -> _Label:
    value, doubt = label_of_path(image, choices)
    return _Label(value, "" if value is not None else DOUBTFUL if doubt else NO_LABEL)


def _row_labels(images: Iterable[str], joined: Joined, choices: Choices, said: list[str]) -> dict[str, _Label]:
    rows = [row for some in joined.rows.values() for row in some]
    column = label_column(rows, choices, joined.columns)
    ones = sorted(word for word, label in column.meaning.items() if label == 1 and word in _words(rows, column.name))
    said.append(f"column {column.name} holds the labels; malignant is {' or '.join(ones) or 'none'}")

    def told(image: str) -> _Label:
        if image not in joined.rows:
            return _Label(None, NO_ROW)
        labels = [column.label(row) for row in joined.rows[image]]
        value = worst(labels)
        if value is not None and label_of_path(image, Choices())[0] not in (None, value):
            return _Label(None, CONTRADICTED)
        return _Label(value, "" if value is not None else NO_LABEL if set(labels) == {None} else ROWS_DISAGREE)

    return {image: told(image) for image in images}


def _unused_columns(joined: Joined | None, said: Sequence[str]) -> list[str]:
    """Returns in words which columns of the table go nowhere."""
    if joined is None or not joined.rows:
        return []
    names = next(iter(joined.rows.values()))[0]
    used = [name for name in names if name in joined.columns or any(f"column {name} holds" in line for line in said)]
    left = [name for name in names if name not in used]
    return [f"not taken over: columns {', '.join(left)}; add them to the manifest if they are wanted"] if left else []


def _words(rows: Iterable[Mapping[str, str]], name: str) -> set[str]:
    return {one_spelling(row[name]) for row in rows}


def _records(
    images: Sequence[str], masks: Mapping[str, list[str]], labels: Mapping[str, _Label], patients: Mapping[str, str]
) -> tuple[list[Record], Counter[str]]:  # fmt: skip
    left: Counter[str] = Counter()
    records = []
    for image in images:
        label, who = labels[image], patients.get(image, "")
        if label.value is None or not who:
            left[label.reason or NO_PATIENT] += 1
            continue
        records.append(Record(image, who, label.value, mask=MASK_SEPARATOR.join(masks.get(image, ()))))
    return records, left


def _one_label(records: Sequence[Record], *, by_table: bool) -> tuple[tuple[Record, ...], Counter[str]]:
    """Returns the records in which each patient has one label, and how many were left out.

    A table tells of each breast or lesion: a woman with cancer keeps her malignant images, as in the public readers.
    Folders that contradict each other may be of two women, or one may be wrong: none of them is kept.
    """
    torn = of_both_classes(records)
    kept = one_label(records)[0] if by_table else tuple(record for record in records if record.patient not in torn)
    left = len(records) - len(kept)
    return kept, Counter({OTHER_BENIGN if by_table else BOTH: left} if left else {})
