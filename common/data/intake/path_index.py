"""Images by the ends of their paths: which of them a cell of a table names, however it was written."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath, PureWindowsPath

Parts = tuple[str, ...]


class PathIndex:
    """Images by the ends of their paths, with and without the suffix of the name; ``fold``: in any letter case."""

    def __init__(self, images: Sequence[str], *, fold: bool = False) -> None:
        self._fold = fold
        self._ends: dict[Parts, set[str]] = defaultdict(set)
        self._whole: dict[Parts, set[str]] = defaultdict(set)
        for image in images:
            for parts in map(self._case, _spellings(image)):
                self._whole[parts].add(image)
                for start in range(len(parts)):
                    self._ends[parts[start:]].add(image)

    def _case(self, parts: Parts) -> Parts:
        return tuple(part.casefold() for part in parts) if self._fold else parts

    def named(self, cell: str) -> frozenset[str]:
        """Returns the images whose path ends as the cell does, or is the end of the cell; the longest end wins."""
        parts = self._case(path_parts(cell))
        if not parts:
            return frozenset()
        if parts in self._ends:
            return frozenset(self._ends[parts])
        for start in range(1, len(parts)):
            if parts[start:] in self._whole:
                return frozenset(self._whole[parts[start:]])
        return frozenset()


def path_parts(path: str) -> Parts:
    """Returns the parts of a path that is written for Windows or not, without drive and root."""
    windows = PureWindowsPath(path)
    return tuple(part for part in windows.parts if part != windows.anchor and part not in (".", ".."))


def _spellings(image: str) -> list[Parts]:
    parts = PurePosixPath(unicodedata.normalize("NFC", image)).parts
    return [parts, (*parts[:-1], PurePosixPath(parts[-1]).stem)] if PurePosixPath(parts[-1]).suffix else [parts]


def in_folders(image: str, cells: Sequence[str]) -> bool:
    folders = PurePosixPath(image).parts[:-1]
    return all(not cell or _holds(folders, path_parts(cell)) for cell in cells)


def _holds(folders: Parts, wanted: Parts) -> bool:
    return any(folders[at : at + len(wanted)] == wanted for at in range(len(folders) - len(wanted) + 1))
