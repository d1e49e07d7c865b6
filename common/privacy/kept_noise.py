"""Noise multipliers that were solved before, kept in the user's cache: each process of a study needs the same ones.

What is read is believed only once the accountant has priced it: it must cost at most the target, and nearly that.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from common.canonical import document_digest

VERSION = 1
"""Of the search. A change of its answers needs another."""
NEARLY = 0.98
"""Least share of the target that a kept multiplier spends: one of 0.1 % more noise than needed spends over 0.99."""


def kept_or_solved(
    target: float, cost: Callable[[float], float], solve: Callable[[], float], **asked: float | str
) -> float:
    """Returns the multiplier kept under ``asked``, or what ``solve`` finds, which is then kept.

    A cache that cannot be read or written is none.

    Args:
        target: Epsilon that it may cost.
        cost: Epsilon of a multiplier.
        solve: Finds the multiplier.
        asked: All that the answer hangs on, beside the versions of search and accountant.
    """
    folder = _folder()
    if folder is None:
        return solve()
    path = folder / f"{document_digest(asked | _versions())}.json"
    found = _read(path)
    if found is not None and NEARLY * target <= cost(found) <= target:
        return found
    solved = solve()
    with contextlib.suppress(OSError):
        _write(path, solved)
    return solved


def _versions() -> dict[str, float | str]:
    return {"search": VERSION, "opacus": metadata.version("opacus")}


def _folder() -> Path | None:
    """Returns where answers are kept; None for a user without a home, as of a service."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "oncofed" / "noise"
    except RuntimeError:
        return None


def _read(path: Path) -> float | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["multiplier"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, float) and 0 < found < math.inf else None


def _write(path: Path, multiplier: float) -> None:
    """Writes a whole file or none: others read while this process writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as file:
        json.dump({"multiplier": multiplier}, file)
    os.replace(file.name, path)
