"""Why emulated hospitals refused, in their own words: in a simulation their logs are the user's own."""

from __future__ import annotations

import re
from pathlib import Path

LOGS = ("inprocess.log", "flower.log")
_REFUSED = re.compile(r"([\w.-]+) refused \(([a-z-]+)\): (.+)$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def reasons(folder: Path) -> dict[str, str]:
    """Returns the last refusal of each emulated hospital in the logs of a run's folder, without its code."""
    found: dict[str, str] = {}
    for path in (folder / name for name in LOGS):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        for line in lines:
            if match := _REFUSED.search(_COLOUR.sub("", line)):
                found[match[1]] = match[3].strip()
    return found
