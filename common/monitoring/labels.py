"""What became known of an exam after the model answered: late, corrected, twice, or of an exam that nobody knows.

A reader's opinion comes in days, a biopsy in weeks, an interval cancer in a year or two. They are different things and
are never mixed: each source has its labels, its counts and its tests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from common.data.files.delimited import read_table
from common.errors import DataError

FILE = "labels.jsonl"
Source = Literal["reader", "biopsy", "interval"]
SOURCES: tuple[Source, ...] = get_args(Source)
WORDS = {"malignant": True, "1": True, "benign": False, "0": False}
COLUMNS = {"exam": ("exam", "accession", "accession number"), "label": ("label",), "source": ("source",),
           "date": ("date",)}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One label of one exam.

    Attributes:
        exam: As the records call it.
        malignant: What it says.
        source: Whose word it is.
        day: On which it was found out.
        seen: Day on which the monitor was told.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    exam: Annotated[str, Field(min_length=1, max_length=512)]
    malignant: bool
    source: Source
    day: date
    seen: date

    @property
    def of(self) -> tuple[str, Source]:
        """What a later label replaces."""
        return self.exam, self.source


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What a file of labels brings to those that are known.

    Attributes:
        new: To be added, in the order of the file.
        corrected: How many of them replace another answer.
        repeated: Rows that say what is known already.
        older: Rows that say otherwise than a label of a later day, which stays.
        conflicting: Exams for which one file says both on one day; none of it is taken.
        unknown: Exams without a record at this site; their labels are kept, for a record may come.
    """

    new: tuple[Label, ...]
    corrected: int
    repeated: int
    older: int
    conflicting: int
    unknown: int


_ADAPTER = TypeAdapter(Label)


def to_line(label: Label) -> str:
    """Returns the label as one line of JSON without its end."""
    return _ADAPTER.dump_json(label).decode()


def from_lines(lines: Iterable[str]) -> tuple[Label, ...]:
    """Returns the labels that :func:`to_line` wrote, in their order.

    Raises:
        DataError: A line is damaged; says which.
    """
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_ADAPTER.validate_json(line))
        except ValidationError:
            raise DataError(f"{FILE} is damaged in line {number}; restore it from a backup") from None
    return tuple(found)


def read_labels(path: Path, seen: date) -> tuple[Label, ...]:
    """Returns the labels of a CSV with the columns exam (or accession), label, source and date, in its order.

    Args:
        path: The file.
        seen: Today.

    Raises:
        DataError: A column is missing, or a row cannot be understood; says which, and nothing is taken.
    """
    table = read_table(path)
    columns = {name: _column(path, table.header, name) for name in COLUMNS}
    return tuple(
        _label(path, line, {name: row[column] for name, column in columns.items()}, seen)
        for line, row in zip(table.lines, table.rows, strict=True)
    )


def told(known: Sequence[Label], incoming: Sequence[Label], exams: set[str]) -> Told:
    """Returns what is new. ``exams`` are those with a record."""
    conflicts = _conflicts(incoming)
    now, new, corrected, repeated, older = current(known), [], 0, 0, 0
    for label in incoming:
        before = now.get(label.of)
        if label.of in conflicts:
            continue
        if before is not None and (before.malignant == label.malignant or label.day < before.day):
            repeated += before.malignant == label.malignant
            older += before.malignant != label.malignant
            continue
        corrected += before is not None
        now[label.of] = label
        new.append(label)
    unknown = len({label.exam for label in incoming} - exams)
    return Told(tuple(new), corrected, repeated, older, len(conflicts), unknown)


def current(labels: Iterable[Label]) -> dict[tuple[str, Source], Label]:
    """Returns the label that holds of each exam and source, in the order in which each came to hold."""
    found: dict[tuple[str, Source], Label] = {}
    for label in labels:
        found.pop(label.of, None)
        found[label.of] = label
    return found


def _conflicts(labels: Sequence[Label]) -> set[tuple[str, Source]]:
    said: dict[tuple[str, Source, date], set[bool]] = {}
    for label in labels:
        said.setdefault((*label.of, label.day), set()).add(label.malignant)
    return {(exam, source) for (exam, source, _), answers in said.items() if len(answers) > 1}


def _column(path: Path, header: Sequence[str], name: str) -> str:
    found = [column for column in header if column.strip().lower() in COLUMNS[name]]
    if len(found) != 1:
        raise DataError(f"{path.name}: expected one column {name!r}; it has {', '.join(header)}")
    return found[0]


def _label(path: Path, line: int, row: dict[str, str], seen: date) -> Label:
    if not row["exam"]:
        raise DataError(f"{path.name}, line {line}: no exam")
    if row["label"].lower() not in WORDS:
        raise DataError(f"{path.name}, line {line}: expected malignant, benign, 1 or 0 as label")
    if row["source"].lower() not in SOURCES:
        raise DataError(f"{path.name}, line {line}: expected {', '.join(SOURCES)} as source")
    try:
        day = date.fromisoformat(row["date"])
    except ValueError:
        raise DataError(f"{path.name}, line {line}: expected a date as 2026-01-31") from None
    if day > seen:
        raise DataError(f"{path.name}, line {line}: its date is in the future")
    source: Source = next(one for one in SOURCES if one == row["source"].lower())
    return Label(exam=row["exam"], malignant=WORDS[row["label"].lower()], source=source, day=day, seen=seen)
