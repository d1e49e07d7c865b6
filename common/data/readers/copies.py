"""Images that a table names by two ids: ``<first>/<second>.png`` or ``<first>_<second>.png``, in any folder."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from common.data.files.tree import look_below
from common.data.manifest import first
from common.errors import DataError

Ids = tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Copies:
    """The images of a table that lie below a folder, all of one format.

    Attributes:
        files: Ids -> path below the folder.
        suffix: Their format; empty where none was found.
        notes: What else of these images lies there and is not read.
    """

    files: Mapping[Ids, str]
    suffix: str
    notes: tuple[str, ...]


def find_copies(root: Path, wanted: Collection[Ids], suffixes: Sequence[str]) -> Copies:
    """Returns the wanted images in the first format that is there: two formats are rendered in two ways, so none mix.

    Raises:
        DataError: An image is there twice in that format.
    """
    names, ids = look_below(root).files, frozenset(wanted)
    found = {suffix: _by_ids([name for name in names if name.lower().endswith(suffix)], ids) for suffix in suffixes}
    there = [suffix for suffix in suffixes if found[suffix]]
    if not there:
        return Copies({}, "", ())
    chosen = found[there[0]]
    twice = [paths[1] for paths in chosen.values() if len(paths) > 1]
    if twice:
        raise DataError(
            f"{len(twice)} images are there twice below {root} ({first(twice)}); keep one copy, or give its folder"
        )
    notes = tuple(f"Not read: {len(found[suffix])} copies as {suffix}; {there[0]} is there." for suffix in there[1:])
    return Copies({key: paths[0] for key, paths in chosen.items()}, there[0], notes)


def _by_ids(names: Collection[str], wanted: frozenset[Ids]) -> dict[Ids, list[str]]:
    found: dict[Ids, list[str]] = defaultdict(list)
    for name in names:
        path = PurePosixPath(name)
        before, _, after = path.stem.partition("_")
        for key in ((path.parent.name, path.stem), (before, after)):
            if key in wanted:
                found[key].append(name)
    return found
