"""Where a command writes: whether it can be written is asked before the work, and said in words if not."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import UsageError


def check_new(path: Path, option: str) -> None:
    """Raises UsageError unless a new file or folder can be made at ``path``; ``option`` is how another is named."""
    if path.exists():
        raise UsageError(f"{path} exists; name a new one with {option}")
    check_folder(path.parent, option)


def check_folder(folder: Path, option: str) -> None:
    """Raises UsageError unless the folder is there and may be written into."""
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}; make it, or name another place with {option}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} cannot be written into; name another place with {option}")


def make_folder(folder: Path, option: str) -> None:
    """Makes the folder and those above it, unless it is there.

    Raises:
        UsageError: It cannot be made or written into.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made ({error.strerror}); name another place with {option}") from None
    check_folder(folder, option)
