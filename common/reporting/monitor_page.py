"""What a site's monitor found, as a page that stays at the site."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.reporting.templates.monitor import MONITOR
from common.trust.durable import make_folder, write_durably

TITLES = {"input": "Inputs", "score": "Scores", "outcome": "Outcomes"}
MEANINGS = {
    "input": "Do the images and machines of a week look like those of the reference?",
    "score": "Does the model answer as it did, before anybody knows whether it is right?",
    "outcome": "Was it right, where somebody has found out since?",
}
SOURCES = {"reader": "Reader (concordance)", "biopsy": "Biopsy", "interval": "Interval cancer"}
WINDOWS = 8
"""The latest windows that the page shows."""


def write_page(found: Mapping[str, Any], path: Path) -> Path:
    """Returns the path of the page, written whole or not at all.

    Args:
        found: What :func:`client.site.monitor.look.monitor` returns.
        path: Of the new file; its folder is made.
    """
    make_folder(path.parent)
    write_durably(path, render(found))
    return path


def render(found: Mapping[str, Any]) -> str:
    """Returns the page as self-contained HTML."""
    from common.reporting.templates.base import render as rendered

    alarms = [alarm for stream in found["streams"] for alarm in stream["alarms"]]
    windows = _windows(next(one for one in found["streams"] if one["stream"] == "input")["figures"])
    values = {
        "m": found, "state": _state(found, len(alarms)), "alarms": alarms, "windows": windows,
        "measures": sorted({name for window in windows for name in window["measures"]}), "titles": TITLES,
        "meanings": MEANINGS, "sources": SOURCES,
        "parts": [("alarms", "Alarms"), *TITLES.items(), ("moves", "States")],
    }  # fmt: skip
    return rendered("monitor", {"monitor": MONITOR}, values)


def _state(found: Mapping[str, Any], alarms: int) -> dict[str, str]:
    model = found["model"][:16]
    tone = {"active": "good" if not alarms else "warn", "watch": "warn"}.get(found["state"], "bad")
    first = {
        "active": f"Active: {'no alarm is open' if not alarms else 'the open alarms were looked at before'}.",
        "watch": "On watch: it goes on, and the next new alarm suspends it.",
        "suspended": "Suspended: it answers no exam.",
    }.get(found["state"], found["state"])
    moved = found["moved"]
    then = f"It was moved by this look: {moved['cause']}." if moved else "This look did not move it."
    untested = any(note.startswith("Not tested") for stream in found["streams"] for note in stream["notes"])
    return {
        "title": f"Model {model}", "tone": "warn" if tone == "good" and untested else tone, "first": first,
        "then": f"{then} {'Some streams are not tested; see below.' if untested else ''}".strip(),
    }  # fmt: skip


def _windows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        window = found.setdefault(row["window"], {"from": row["window"], "exams": row["exams"], "measures": {}})
        window["measures"][row["measure"]] = row
    return list(found.values())[-WINDOWS:]
