"""What a reader said of exams: one JSON line an answer, at the site, never changed and never removed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError

from common.errors import DataError
from common.trust.durable import append_line, make_folder

FILE = "readings.jsonl"
Step = Literal["reading", "verdict"]
ANSWERS: dict[Step, tuple[str, ...]] = {
    "reading": ("benign", "malignant", "cannot-tell"),
    "verdict": ("agree", "disagree", "cannot-tell"),
}
"""``reading`` is of the images, ``verdict`` of what the model said."""
_Digits = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One answer of one reader.

    Attributes:
        entry: UUID4 in hex.
        made: When, UTC.
        reader: Who, by the name that the command was started with.
        exam: As the record calls it.
        record: The model's answer (:class:`common.inference.record.InferenceRecord`) that it stands beside.
        model: Digest of the package.
        step: Which question.
        answer: One of :data:`ANSWERS`.
        blind: Whether the model's answer was hidden from this reader then.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    entry: _Digits
    made: AwareDatetime
    reader: Annotated[str, Field(min_length=1, max_length=64)]
    exam: Annotated[str, Field(min_length=1, max_length=512)]
    record: _Digits
    model: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    step: Step
    answer: str
    blind: bool

    def __post_init__(self) -> None:
        """Holds the answer to its question."""
        if self.answer not in ANSWERS[self.step]:
            raise ValueError(f"expected one of {', '.join(ANSWERS[self.step])}")
        if self.step == "verdict" and self.blind:
            raise ValueError("expected a verdict on what was seen")

    @property
    def malignant(self) -> bool | None:
        """What a reading says; None: it cannot tell, or is none."""
        return {"malignant": True, "benign": False}.get(self.answer)


_ADAPTER = TypeAdapter(Entry)


@dataclasses.dataclass(frozen=True, slots=True)
class Journal:
    """A file of entries.

    Args:
        path: The file, made with the first entry; readable by its owner only.
    """

    path: Path

    def append(self, entry: Entry) -> None:
        """Adds an entry, durable when this returns.

        Raises:
            DataError: It cannot be written.
        """
        try:
            if not self.path.parent.is_dir():
                make_folder(self.path.parent)
            append_line(self.path, _ADAPTER.dump_json(entry))
        except OSError as error:
            raise DataError(
                f"Your answer was not kept: {self.path} cannot be written ({error.strerror}). Free the disk or mend "
                "its permissions, then answer again"
            ) from None

    def entries(self) -> tuple[Entry, ...]:
        """Returns all entries, oldest first; a last line that a crash cut short was acknowledged to nobody.

        Raises:
            DataError: The file cannot be read, or is damaged; says where.
        """
        try:
            *lines, _ = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error.strerror}); mend its permissions") from None
        return tuple(self._entry(number, line) for number, line in enumerate(lines, start=1))

    def _entry(self, number: int, line: bytes) -> Entry:
        try:
            return _ADAPTER.validate_json(line)
        except ValidationError:
            raise DataError(f"{self.path} is damaged in line {number}; restore it from a backup") from None
