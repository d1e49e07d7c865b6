"""What a folder may hold after a power loss: a log of writes, replayed up to any point, less what no fsync had secured.

The promises relied on are those of POSIX and no file system's own: an fsync of a file secures its bytes and not its
name, an fsync of a folder the names in it and not the folder's own; of all else any part may be there. Names of one
folder reach the disk in order, as journals of file systems do; writes in any order, each whole, halved or not at all.
A sync that failed secures nothing, ever: Linux forgets which pages were dirty.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

NEW_FOLDER = "folder"
Write = tuple[int, "bytes | None"]
"""Offset and data; or a size and None, for a truncation."""


@dataclass(frozen=True, slots=True)
class Call:
    """One logged call; ``kind`` as in ``write_faults.c``; f: a sync that failed; x: a charge had returned."""

    kind: str
    inode: int
    offset: int
    data: bytes
    path: str
    other: str


def read_log(log: bytes) -> list[Call]:
    """Returns the calls that ``write_faults.c`` wrote down."""
    calls = []
    while log:
        line, _, log = log.partition(b"\n")
        kind, inode, offset, size, path, other = line.decode().split(" ")
        calls.append(Call(kind, int(inode), int(offset), log[: int(size)], path, other))
        log = log[int(size) :]
    return calls


@dataclass
class _File:
    """Bytes as a reader sees them and as a sync secured them, and the writes since."""

    seen: bytes = b""
    secured: bytes = b""
    pending: list[Write] = field(default_factory=list)
    doomed: int = 0

    def write(self, write: Write) -> None:
        self.seen = _written(self.seen, [write])
        self.pending.append(write)

    def sync(self) -> None:
        self.secured = _written(self.secured, self.pending[self.doomed :])
        self.pending, self.doomed = [], 0

    def sync_failed(self) -> None:
        self.doomed = len(self.pending)


Change = tuple[str, "_File | str | None"]


@dataclass
class Disk:
    """Files and names below ``root``, what of them is secured, and what only a lucky crash would keep."""

    root: str
    names: dict[str, _File | str] = field(default_factory=dict)
    secured: dict[str, _File | str] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)
    open: dict[int, _File] = field(default_factory=dict)

    def apply(self, call: Call) -> None:
        """Does what the call did."""
        if call.kind in "wt":
            self.open[call.inode].write((call.offset, call.data if call.kind == "w" else None))
        elif call.kind == "s":
            self.open[call.inode].sync()
        elif call.kind == "f":
            self.open[call.inode].sync_failed()
        elif call.kind == "d":
            self._secure_names(call.path)
        elif call.kind == "c":
            self.open[call.inode] = _File()
            self._change([(call.path, self.open[call.inode])])
        elif call.kind in "mlru":
            self._change(self._names_changed(call))

    def _names_changed(self, call: Call) -> list[Change]:
        if call.kind == "m":
            return [(call.path, NEW_FOLDER)]
        if call.kind == "u":
            return [(call.path, None)]
        arrived: list[Change] = [(call.other, self.names[call.path])]
        return arrived if call.kind == "l" else [*arrived, (call.path, None)]

    def _change(self, changes: list[Change]) -> None:
        self.pending += changes
        _put(self.names, changes)

    def _secure_names(self, folder: str) -> None:
        _put(self.secured, [change for change in self.pending if _parent(change[0]) == folder])
        self.pending = [change for change in self.pending if _parent(change[0]) != folder]

    def whole(self) -> dict[str, bytes | None]:
        """Returns path and bytes (None: a folder) of all that is there while the power is on."""
        return self._state(self.names, _seen)

    def after_power_loss(self, seeds: range) -> Iterator[dict[str, bytes | None]]:
        """Yields folders as they may be found: the four extremes, then random ones."""
        for names in (self.secured, self.names):
            yield self._state(names, _secured)
            yield self._state(names, _seen)
        for seed in seeds:
            chance = random.Random(seed)
            names = dict(self.secured)
            _put(names, self.pending[: chance.randint(0, len(self.pending))])
            yield self._state(names, partial(_some, chance=chance))

    def _state(self, names: dict[str, _File | str], content: Callable[[_File], bytes]) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}
        for path, entry in sorted(names.items(), key=lambda item: item[0]):
            if _parent(path) in found or _parent(path) == self.root:
                found[path] = None if isinstance(entry, str) else content(entry)
        return found


def digest(state: dict[str, bytes | None]) -> str:
    """Returns a name for the state, equal for equal ones."""
    whole = hashlib.sha256()
    for path, content in sorted(state.items()):
        whole.update(f"{path}\n{None if content is None else len(content)}\n".encode() + (content or b""))
    return whole.hexdigest()


def materialise(state: dict[str, bytes | None], root: str, folder: Path) -> None:
    """Makes the files of ``state``, recorded below ``root``, anew below ``folder``."""
    folder.mkdir()
    for path, content in sorted(state.items()):
        target = folder / PurePosixPath(path).relative_to(root)
        if content is None:
            target.mkdir()
        else:
            target.write_bytes(content)
            target.chmod(0o600)


def load(folder: Path, disk: Disk) -> None:
    """Takes what ``folder`` holds as secured."""
    for path in sorted(folder.rglob("*")):
        entry = NEW_FOLDER if path.is_dir() else _File(path.read_bytes(), path.read_bytes())
        disk.names[str(path)] = disk.secured[str(path)] = entry
        if isinstance(entry, _File):
            disk.open[path.stat().st_ino] = entry


def _put(names: dict[str, _File | str], changes: list[Change]) -> None:
    for path, entry in changes:
        if entry is None:
            names.pop(path, None)
        else:
            names[path] = entry


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _seen(file: _File) -> bytes:
    return file.seen


def _secured(file: _File) -> bytes:
    return file.secured


def _some(file: _File, chance: random.Random) -> bytes:
    kept: list[Write] = []
    for offset, data in file.pending:
        fate = chance.random()
        if fate < 0.45:
            kept.append((offset, data))
        elif fate < 0.6 and data:
            kept.append((offset, data[: len(data) // 2]))
    return _written(file.secured, kept)


def _written(held: bytes, writes: list[Write]) -> bytes:
    content = bytearray(held)
    for offset, data in writes:
        end = offset if data is None else offset + len(data)
        content.extend(bytes(max(0, end - len(content))))
        if data is None:
            del content[offset:]
        else:
            content[offset:end] = data
    return bytes(content)
