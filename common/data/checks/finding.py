"""What a check says."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
"""An error keeps a cohort from being ready, a warning wants a look, a note is told."""
SHOWN = 5
"""Records that a line names."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of thing that was found.

    Attributes:
        code: Stable name, for programs and certificates.
        severity: How bad it is.
        what: In words, without a name of a file or a patient.
        count: How many records, patients or files; at least 1.
        records: Image keys, or groups as ``column=value``, that are concerned; they never leave the site.
        fix: What to do about it.
        told: Whether the count may leave; not where it is one that the table of patients may hide.
    """

    code: str
    severity: Severity
    what: str
    count: int
    records: tuple[str, ...] = ()
    fix: str
    told: bool = True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"Expected a finding of at least one, got {self.count}")

    def line(self) -> str:
        """Returns the finding in one line, for the site's own eyes."""
        named = ", ".join(self.records[:SHOWN]) + (", ..." if len(self.records) > SHOWN else "")
        return f"{self.severity}: {self.what} ({self.count}){f': {named}' if named else ''}. {self.fix}"

    def document(self) -> dict[str, Any]:
        """Returns the finding as JSON values, for the site's own eyes."""
        return {
            "code": self.code, "severity": self.severity, "what": self.what, "count": self.count,
            "records": self.records, "fix": self.fix,
        }  # fmt: skip

    def released(self, min_cell: float) -> dict[str, Any]:
        """Returns what may leave the site: code, severity and count, None where it is small or not to be told."""
        count = self.count if self.told and self.count >= min_cell else None
        return {"code": self.code, "severity": self.severity, "count": count}
