"""Reads the egress journal for people: what left, when, for which run, and how large it was."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common.cli.terminal import printable
from common.errors import DataError, UsageError

_AGO = re.compile(r"(\d{1,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_KEYS = ("time", "purpose", "run", "round", "fields")


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressLog:
    """The journal from some moment on.

    Attributes:
        messages: Its lines, oldest first, each with the sum of its ``bytes``.
        torn: Lines that a crash or a full disk cut short; nothing left for them.
    """

    messages: tuple[Mapping[str, Any], ...]
    torn: int

    @property
    def refusals(self) -> dict[str, int]:
        """How many messages were refusals, by code, sorted."""
        return dict(sorted(Counter(row["refusal"] for row in self.messages if row["refusal"]).items()))

    @property
    def last(self) -> Mapping[str, Any] | None:
        """The newest message without its fields, None where nothing left."""
        return {k: v for k, v in self.messages[-1].items() if k != "fields"} if self.messages else None

    def to_json(self) -> dict[str, Any]:
        """Returns all of it as JSON values."""
        total = sum(row["bytes"] for row in self.messages)
        return {"schema_version": 1, "messages": list(self.messages), "bytes": total, "torn_lines": self.torn}


def read_egress(path: Path, since: datetime | None = None) -> EgressLog:
    """Returns the messages that left at ``since`` or later; none where there is no journal yet.

    Raises:
        DataError: The journal cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise DataError(f"The egress journal {path} cannot be read ({error.strerror}); mend its permissions") from None
    lines = [line for line in text.splitlines() if line.strip()]
    rows = list(_rows(lines))
    kept = [row for row in rows if since is None or datetime.fromisoformat(row["time"]) >= since]
    return EgressLog(messages=tuple(kept), torn=len(lines) - len(rows))


def parse_since(text: str, now: datetime | None = None) -> datetime:
    """Returns the moment that ``7d``, ``12h``, ``30m`` ago, or an ISO date or time, names (local time without a zone).

    Raises:
        UsageError: It is none of these.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return (now or datetime.now(UTC)) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise UsageError(f"--since {text!r} is no time; expected 7d, 12h, 30m or 2026-11-23T20:00") from None


def sentence(row: Mapping[str, Any], *, fields: bool = False) -> list[str]:
    """Returns the lines that tell a person of one message; with every field of it if asked."""
    what = f"refused ({row['refusal']})" if row["refusal"] else str(row["purpose"])
    where = f", run {row['run']} round {row['round']}" if row["run"] else ""
    head = f"{row['time']} {what}{where}: {len(row['fields'])} fields, {row['bytes']} bytes"
    lines = [head, *(_field(entry) for entry in row["fields"])] if fields else [head]
    return [printable(line) for line in lines]


def _field(entry: Mapping[str, Any]) -> str:
    shape = f" {entry['shape']}" if "shape" in entry else ""
    return f"    {entry['field']}: {entry['kind']}{shape}, {entry['bytes']} bytes, SHA-256 {entry['sha256']}"


def _rows(lines: list[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            row: dict[str, Any] = json.loads(line)
            datetime.fromisoformat(row["time"]).astimezone()
            size = sum(int(entry["bytes"]) for entry in row["fields"])
            yield {key: row[key] for key in _KEYS} | {"refusal": row.get("refusal"), "bytes": size}
        except (ValueError, KeyError, TypeError):
            continue
