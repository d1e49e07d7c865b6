"""Findings of a proposal: an error keeps it from being written, a warning wants a look; none leaves the site."""

from __future__ import annotations

from collections.abc import Sequence

from common.data.checks.finding import Finding


def error(code: str, what: str, fix: str, records: Sequence[str] = (), *, count: int = 0) -> list[Finding]:
    """Returns one error of ``count`` things, of so many as there are records where it is 0; none of none."""
    number = count or len(records)
    made = Finding(
        code=code, severity="error", what=what, count=number or 1, records=tuple(records), fix=fix, told=False
    )
    return [made] if number else []


def warning(code: str, what: str, fix: str, records: Sequence[str] = (), *, count: int = 0) -> list[Finding]:
    """Returns one warning, as :func:`error` does."""
    number = count or len(records)
    made = Finding(
        code=code, severity="warning", what=what, count=number or 1, records=tuple(records), fix=fix, told=False
    )
    return [made] if number else []
