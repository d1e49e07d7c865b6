"""What the folder of a run tells the command that follows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.runs.run_folder import RunFolder

FINAL = ("COMPLETED", "PARTIAL", "FAILED")
Progress = Callable[[Mapping[str, Any]], None]


class Rounds:
    """Reports rounds as they are written to ``metrics.jsonl``."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder, self._progress = RunFolder(folder), progress
        self._seen = max((row["round"] for row in self._folder.read_metrics()), default=0)

    def __call__(self) -> None:
        for row in self._folder.read_metrics():
            if row["round"] > self._seen:
                self._seen = row["round"]
                self._progress(row)


def read_status(folder: Path) -> dict[str, Any] | None:
    """Returns the run's ``run.json``, None where there is none."""
    try:
        return dict(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def rounds_done(folder: Path) -> int:
    """Returns how many rounds the run has done."""
    return int((read_status(folder) or {}).get("rounds_done", 0))


def stamp(folder: Path) -> float:
    """Returns what differs once ``run.json`` was written anew; 0 where there is none."""
    path = folder / "run.json"
    return path.stat().st_mtime_ns if path.exists() else 0.0


def final(folder: Path, before: float) -> bool:
    """Tells whether this attempt, not the one before it, brought the run to its end."""
    found = read_status(folder)
    return found is not None and stamp(folder) != before and found["status"] in FINAL
