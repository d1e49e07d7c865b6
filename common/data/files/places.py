"""Where a file lies that a table names: accents composed or not, Windows paths, and folders it may be in instead."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from common.data.files.tree import look_below

Listing = dict[str, dict[str, list[str]]]
SAMPLE = 50
"""Missing files that are looked for elsewhere."""


def found_keys(folder: Path, keys: Iterable[str]) -> dict[str, str]:
    r"""Returns key -> the path below the folder under which its file lies; files that are nowhere are left out.

    A key is taken as it is if a file has that name. Else ``\`` counts as ``/``, and names are equal whose letters are,
    however their accents are composed (Unicode NFC); a key that then names two files names none.
    """
    names: Listing = {}
    found = {}
    for key in {key for key in keys if not leaves(key)}:
        place = key if is_file(folder, key) else _place(folder, key, names)
        if place:
            found[key] = place
    return found


def whereabouts(folder: Path, missing: Iterable[str]) -> str:
    """Returns in words where files may be that are not at their place; empty where nothing is known.

    Looks for a folder below, above or beside from which their paths would be right, and for names in other case.
    """
    wanted = sorted({key.replace("\\", "/") for key in missing if not leaves(key)})
    wanted = wanted[:: -(-len(wanted) // SAMPLE)] if wanted else []
    below = look_below(folder).files
    starts = Counter(start for key in wanted for start in _starts(key, below))
    if starts:
        best, number = max(sorted(starts.items()), key=lambda item: item[1])
        return f"{_share(number, wanted)} lie there from {folder / best} on: give that with --images"
    above = [start for start in (folder.parent, folder.parent.parent) if any(is_file(start, key) for key in wanted)]
    if above:
        return f"they lie there from {above[0]} on: give that with --images"
    folded = {name.casefold() for name in below}
    cases = sum(key.casefold() in folded for key in wanted)
    return f"{_share(cases, wanted)} are there in other letter case" if cases else _by_name(folder, wanted, below)


def without_start(folder: Path, keys: Iterable[str]) -> str:
    """Returns in words what to take off absolute paths so that they name files below the folder; empty if nothing."""
    for key in list(keys)[:SAMPLE]:
        parts = PureWindowsPath(key).parts
        for start in range(1, len(parts)):
            if is_file(folder, "/".join(parts[start:])):
                lead = key[: len(key) - len("/".join(parts[start:]))]
                return f"without {lead} the path would name a file in {folder}, as {'/'.join(parts[start:])} does"
    return ""


def _share(number: int, wanted: Sequence[str]) -> str:
    return "they" if number == len(wanted) else f"{number} of {len(wanted)} looked for"


def _starts(key: str, below: Iterable[str]) -> list[str]:
    return [name[: -len(key) - 1] for name in below if name.endswith(f"/{key}")]


def _by_name(folder: Path, wanted: Iterable[str], below: Iterable[str]) -> str:
    places: dict[str, str] = {PurePosixPath(name).name: name for name in below}
    for key in wanted:
        name = PurePosixPath(key).name
        if name in places:
            return f"a file {name} is at {folder / places[name]}"
    return ""


def leaves(key: str) -> bool:
    """Returns whether a path is absolute or leads out of its folder."""
    windows = PureWindowsPath(key)
    return bool(windows.drive or windows.root or PurePosixPath(key).is_absolute() or ".." in windows.parts)


def _place(folder: Path, key: str, names: Listing) -> str:
    place = ""
    for part in PurePosixPath(key.replace("\\", "/")).parts:
        fitting = _names(folder / place, names).get(unicodedata.normalize("NFC", part), [])
        chosen = [name for name in fitting if name == part] or fitting
        if len(chosen) != 1:
            return ""
        place = f"{place}/{chosen[0]}" if place else chosen[0]
    return place if place and is_file(folder, place) else ""


def _names(folder: Path, known: Listing) -> dict[str, list[str]]:
    """Returns name in NFC -> the names of that form that stand in the folder."""
    key = str(folder)
    if key not in known:
        known[key] = {}
        try:
            for name in os.listdir(folder):
                known[key].setdefault(unicodedata.normalize("NFC", name), []).append(name)
        except OSError:
            return {}
    return known[key]


def is_file(folder: Path, key: str) -> bool:
    """Returns whether the path below the folder is a file, also of a name that no file system takes."""
    try:
        return (folder / key).is_file()
    except (OSError, ValueError):  # a name too long for the file system, or with a zero byte
        return False
