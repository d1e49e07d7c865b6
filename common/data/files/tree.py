"""The files below a folder as every reader wants them: links are followed, loops end, leftovers never count.

Leftovers are what operating systems and archives put beside images (``._x.png``, ``__MACOSX``, ``Thumbs.db``).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

LEFTOVERS = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information"})
"""Names of files and folders, in lower case; those that begin with a dot are leftovers too."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """What lies below a folder.

    Attributes:
        files: Paths relative to it, sorted.
        again: Folder that a link reaches a second time -> the path under which its files are listed.
        broken: Links to nothing.
        closed: Folders that may not be read.
    """

    files: tuple[str, ...]
    again: Mapping[str, str]
    broken: tuple[str, ...]
    closed: tuple[str, ...]


def is_leftover(name: str) -> bool:
    """Returns whether a file or folder of this name is no part of anybody's data.

    >>> is_leftover("._scan.png"), is_leftover("scan.png")
    (True, False)
    """
    return name.startswith(".") or name.lower() in LEFTOVERS


def look_below(folder: Path) -> Tree:
    """Returns all files below the folder, also through links; each folder once, so that loops end."""
    files: list[str] = []
    again: dict[str, str] = {}
    broken: list[str] = []
    closed: list[str] = []
    first: dict[str, str] = {}
    waiting = [""]
    while waiting:
        place = waiting.pop()
        real = os.path.realpath(folder / place)
        if real in first:
            again[place] = first[real]
            continue
        first[real] = place
        entries = _entries(folder / place)
        if entries is None:
            closed.append(place or ".")
            continue
        below = []
        for entry in entries:
            name = f"{place}/{entry.name}" if place else entry.name
            if entry.is_dir():
                below.append(name)
            elif entry.is_file():
                files.append(name)
            elif entry.is_symlink():
                broken.append(name)
        waiting += reversed(below)
    return Tree(tuple(sorted(files)), again, tuple(sorted(broken)), tuple(sorted(closed)))


def files_below(folder: Path, *suffixes: str) -> list[Path]:
    """Returns the paths of the files below the folder with one of the suffixes (``.png``, any case); none: all."""
    wanted = tuple(suffix.lower() for suffix in suffixes)
    return sorted(folder / name for name in look_below(folder).files if not wanted or name.lower().endswith(wanted))


def is_there(path: Path) -> bool:
    """Returns whether the file exists; no file has a name that the file system cannot hold."""
    try:
        return path.is_file()
    except OSError:
        return False


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """Returns the paths of the files in the folder itself with one of the suffixes (any case), leftovers left out."""
    wanted = tuple(suffix.lower() for suffix in suffixes)
    return sorted(
        Path(entry.path) for entry in _entries(folder) or () if entry.is_file() and entry.name.lower().endswith(wanted)
    )


def folders_in(folder: Path) -> list[Path]:
    """Returns the paths of the folders in the folder itself, also through links; leftovers are left out."""
    return sorted(Path(entry.path) for entry in _entries(folder) or () if entry.is_dir())


def _entries(folder: Path) -> list[os.DirEntry[str]] | None:
    """Returns what stands in a folder, sorted, without leftovers; None where it may not be read."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not is_leftover(entry.name)]
    except OSError:
        return None
    # A folder comes before the links to it, so that it keeps its own name.
    return sorted(found, key=lambda entry: (entry.is_symlink(), entry.name))
