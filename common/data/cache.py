"""Preprocessed images in memory-mapped files: decoded once, then read page by page, so memory stays small.

A file is known by all that its pixels depend on: the images' names, sizes and times of change, how they are
preprocessed, and this program's own code. Anything else than that is a new file; a damaged one is made again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.manifest import Dataset
from common.data.pixels.images import ImageFiles
from common.data.readers.regions import DrawnRegions
from common.errors import DataError
from common.provenance import code_digest

Floats = NDArray[np.float32]
KEPT = 12
"""Files that stay in a cache; the oldest go."""


def cached(
    folder: Path, dataset: Dataset, keys: Sequence[str], preprocessing: object, shape: tuple[int, ...],
    fill: Callable[[Floats], None],
) -> Floats:  # fmt: skip
    """Returns float32 of ``shape``, mapped from a file that ``fill`` wrote now or in an earlier process.

    Changes to the array reach no file. Images that stand in no files of their own are kept in memory.

    Args:
        folder: Of the cache; readable by its owner only.
        dataset: The data set.
        keys: Its images in the order of the rows.
        preprocessing: What the pixels depend on beside the images; its ``repr`` counts.
        shape: Of the result.
        fill: Writes every row of the array that it is given.

    Raises:
        DataError: The cache cannot be written; and what ``fill`` raises.
    """
    stamp = _stamp(dataset, keys)
    if stamp is None:
        rows = np.empty(shape, dtype=np.float32)
        fill(rows)
        return rows
    name = hashlib.sha256(json.dumps([code_digest(), repr(preprocessing), list(shape), stamp]).encode()).hexdigest()
    path = folder / f"{name}.npy"
    found = _opened(path, shape)
    return found if found is not None else _made(path, shape, fill)


def _stamp(dataset: Dataset, keys: Sequence[str]) -> list[Any] | None:
    """Returns what tells that the files are still the same; None where the images are no files."""
    source = dataset.read.read if isinstance(dataset.read, DrawnRegions) else dataset.read
    if not isinstance(source, ImageFiles):
        return None
    return [str(source.folder.resolve()), *([key, *_size_and_time(source.folder / key)] for key in keys)]


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (-1, -1)  # reading it will say what is wrong
    return found.st_size, found.st_mtime_ns


def _opened(path: Path, shape: tuple[int, ...]) -> Floats | None:
    try:
        rows: Floats = np.load(path, mmap_mode="c")
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.shape == shape and rows.dtype == np.float32 else None


def _made(path: Path, shape: tuple[int, ...], fill: Callable[[Floats], None]) -> Floats:
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        rows = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
        _reserve(part)
        fill(rows)
        rows.flush()
        part.replace(path)
    except OSError as error:
        raise DataError(
            f"The cache {path.parent} cannot be written ({error.strerror}); free the disk, or switch the cache off"
        ) from None
    finally:
        part.unlink(missing_ok=True)
    _forget_old(path.parent)
    return rows if (found := _opened(path, shape)) is None else found


def _reserve(part: Path) -> None:
    """Takes the room on the disk beforehand, since a mapped file that runs out of it would kill the process."""
    descriptor = os.open(part, os.O_RDWR)
    try:
        os.fchmod(descriptor, 0o600)
        os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot
            raise
    finally:
        os.close(descriptor)


def _forget_old(folder: Path) -> None:
    files = sorted(folder.glob("*.npy"), key=lambda path: _size_and_time(path)[1], reverse=True)
    for path in files[KEPT:]:
        path.unlink(missing_ok=True)
