"""What a monitor says when something changed: never without how often it says so for nothing, and what it can miss."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Stream = Literal["input", "score", "outcome"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a test promises, known before it alarms.

    Attributes:
        stream: What it watches.
        measure: Which figure of it.
        rule: The test, by its name in the literature.
        false_alarms: How often it alarms although nothing changed, in words with the figure.
        smallest: The smallest change that it can see with the data it had, in words with the figure and its power.
    """

    stream: Stream
    measure: str
    rule: str
    false_alarms: str
    smallest: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One alarm.

    Attributes:
        claim: What the test promises.
        found: What was seen, beside what was expected, in words with figures.
        at: Number of the observation (from 1) or the first day of the window at which it alarmed.
    """

    claim: Claim
    found: str
    at: str

    @property
    def key(self) -> str:
        """What the same alarm is known by when the monitor runs again."""
        return f"{self.claim.stream}/{self.claim.measure}/{self.claim.rule}"

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {**dataclasses.asdict(self.claim), "found": self.found, "at": self.at}
