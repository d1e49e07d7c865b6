"""Where received images lie until their exam is read: what was acknowledged survives kill -9 and a power loss.

``images/STUDY/INSTANCE.dcm`` are the images, ``read/STUDY.json`` says which of them a report was made from. Names are
digests of UIDs, so that no name of a folder or of a file tells an exam. One process works on a spool.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.trust.durable import make_folder, sync_folder, write_durably

SUFFIX = ".dcm"


class SpoolFull(Exception):
    """An image was not kept: the spool is at its limit, or the disk is full."""


@dataclasses.dataclass(frozen=True, slots=True)
class Study:
    """A study whose images have stopped coming.

    Attributes:
        key: Digest of its UID.
        files: All its images that are kept, by name.
        before: What the report made earlier is called; None: there is none.
    """

    key: str
    files: tuple[Path, ...]
    before: Mapping[str, str] | None


class Spool:
    """Received images, at most ``limit`` bytes of them.

    Args:
        folder: Made if need be; what was left there is taken up again.
        limit: Bytes of images kept at the same time.
        clock: Seconds that never go back.
    """

    def __init__(self, folder: Path, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._images, self._read = folder / "images", folder / "read"
        self._limit, self._clock, self._lock = limit, clock, threading.Lock()
        for place in (self._images, self._read):
            make_folder(place)
            place.chmod(0o700)
        for partial in self._images.glob(".*.partial"):
            partial.unlink()
        self._used = sum(path.stat().st_size for path in self._images.glob(f"*/*{SUFFIX}"))
        self._waiting: dict[str, float] = {}
        self._kept: dict[str, float] = {}
        for place in sorted(self._images.iterdir()):
            found = self._waiting if self._unread(place.name) else self._kept
            found[place.name] = self._clock()

    @property
    def used(self) -> int:
        """Bytes of images."""
        return self._used

    @property
    def waiting(self) -> int:
        """Studies that no report was made of yet, or that got images since."""
        return len(self._waiting)

    def put(self, study: str, instance: str, image: bytes) -> None:
        """Keeps an image durably; one that is here already is replaced.

        Args:
            study: StudyInstanceUID.
            instance: SOPInstanceUID.
            image: A DICOM file.

        Raises:
            SpoolFull: It was not kept, and nothing of it is left.
        """
        key, name = digest(study), digest(instance) + SUFFIX
        partial = self._images / f".{uuid.uuid4().hex}.partial"
        self._reserve(len(image))
        try:
            write_whole(partial, image)
            with self._lock:
                self._place(partial, key, name, len(image))
        except OSError:
            partial.unlink(missing_ok=True)
            with self._lock:
                self._used -= len(image)
            raise SpoolFull from None
        try:
            sync_folder(self._images / key)
        except OSError:
            raise SpoolFull from None

    def _reserve(self, size: int) -> None:
        with self._lock:
            for key in sorted(self._kept, key=self._kept.__getitem__):
                if self._used + size <= self._limit:
                    break
                self._drop(key)
            if self._used + size > self._limit:
                raise SpoolFull
            self._used += size

    def _place(self, partial: Path, key: str, name: str, size: int) -> None:
        place = self._images / key
        if not place.exists():
            place.mkdir()
            sync_folder(self._images)
        path = place / name
        there = path.stat().st_size if path.exists() else 0
        partial.replace(path)
        self._used -= there
        if name in self._names_read(key) and key not in self._waiting:
            self._kept.setdefault(key, self._clock())
            return
        self._kept.pop(key, None)
        self._waiting[key] = self._clock()

    def due(self, quiet: float) -> list[Study]:
        """Returns the studies that got no image for ``quiet`` seconds and have one that was not read, oldest first."""
        now = self._clock()
        with self._lock:
            keys = sorted(
                (key for key, last in self._waiting.items() if now - last >= quiet), key=self._waiting.__getitem__
            )
            return [Study(key, self._files(key), self._facts(key).get("report")) for key in keys]

    def mark_read(self, study: Study, report: Mapping[str, str] | None) -> None:
        """Notes durably that a study was read, in those of its images that ``study`` names.

        Args:
            study: As :meth:`due` returned it.
            report: What the report is called, for the one that follows it; None: there is no report of it.
        """
        names = self._names_read(study.key) | {path.name for path in study.files}
        facts = {"schema_version": 1, "images": sorted(names), "report": report or study.before}
        write_durably(self._read / f"{study.key}.json", json.dumps(facts))
        with self._lock:
            if not self._unread(study.key):
                self._waiting.pop(study.key, None)
                self._kept[study.key] = self._clock()

    def purge(self, keep: float) -> int:
        """Returns how many studies were dropped: those that were read ``keep`` seconds ago or earlier."""
        now = self._clock()
        with self._lock:
            old = [key for key, since in self._kept.items() if now - since >= keep]
            for key in old:
                self._drop(key)
        return len(old)

    def _drop(self, key: str) -> None:
        self._used -= sum(path.stat().st_size for path in self._files(key))
        shutil.rmtree(self._images / key)
        del self._kept[key]

    def _files(self, key: str) -> tuple[Path, ...]:
        return tuple(sorted((self._images / key).glob(f"*{SUFFIX}")))

    def _unread(self, key: str) -> bool:
        return not {path.name for path in self._files(key)} <= self._names_read(key)

    def _names_read(self, key: str) -> set[str]:
        return set(self._facts(key).get("images", ()))

    def _facts(self, key: str) -> dict[str, Any]:
        path = self._read / f"{key}.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            raise DataError(f"{path} is damaged; delete it, and the exam is read again") from None
        return found


def digest(uid: str) -> str:
    """Returns the name under which a UID is kept: 32 hex digits."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


def write_whole(path: Path, data: bytes) -> None:
    """Writes a new file, durable when this returns; readable by its owner only."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
