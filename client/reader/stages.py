"""How far a reader is with each exam: nothing said, read, or read and judged what the model said."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from common.errors import UsageError

if TYPE_CHECKING:
    from client.reader.journal import Entry, Step


class Stage(StrEnum):
    """What a reader does next with an exam."""

    READ = "reading"
    JUDGE = "verdict"
    DONE = "done"


class AnsweredAlready(UsageError):
    """A first reading stays as it is: what is said later was said with the model's answer in view."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What an answer is about: the exam's key, the model's record of it, and the package."""

    exam: str
    record: str
    model: str


class Desk:
    """The answers of one reader.

    Args:
        reader: Her name.
        blind: Whether she reads before she sees what the model says.
        entries: All that the journal holds, oldest first.
    """

    def __init__(self, reader: str, blind: bool, entries: Iterable[Entry]) -> None:
        self.reader, self.blind = reader, blind
        self._said: dict[tuple[str, Step], Entry] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Takes an entry that is durable; another reader's is left alone, and of readings the first one holds."""
        if entry.reader != self.reader:
            return
        if entry.step == "reading":
            self._said.setdefault((entry.record, "reading"), entry)
        else:
            self._said[entry.record, "verdict"] = entry

    def said(self, record: str | None, step: Step) -> Entry | None:
        """Returns what she said; None: nothing yet."""
        return None if record is None else self._said.get((record, step))

    def stage(self, record: str | None) -> Stage:
        """Returns what is next for a record; without one, nothing was said."""
        if self.said(record, "reading") is None:
            return Stage.READ
        return Stage.JUDGE if self.said(record, "verdict") is None else Stage.DONE

    def sees(self, record: str | None) -> bool:
        """Returns whether she may see what the model says."""
        return not self.blind or self.stage(record) is not Stage.READ

    def entry(self, step: Step, answer: str, target: Target) -> Entry:
        """Returns her answer, to be kept before it is added.

        Raises:
            UsageError: It is no answer to this question, or it is not this question's turn.
        """
        from client.reader.journal import ANSWERS, Entry

        stage = self.stage(target.record)
        if answer not in ANSWERS[step]:
            raise UsageError(f"Choose one of {', '.join(ANSWERS[step])}")
        if step == "reading" and stage is not Stage.READ:
            raise AnsweredAlready("You have read this exam already; your first reading stays as it is")
        if step == "verdict" and stage is Stage.READ:
            raise UsageError("Give your own reading first")
        return Entry(
            entry=uuid.uuid4().hex, made=datetime.now(UTC), reader=self.reader, exam=target.exam, record=target.record,
            model=target.model, step=step, answer=answer, blind=step == "reading" and self.blind,
        )  # fmt: skip
