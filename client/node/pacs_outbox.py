"""Results on their way to a PACS: they stay on disk, object by object, until the PACS has said that it keeps them."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from client.node.pacs_spool import write_whole
from common.services.supervisor import Backoff
from common.trust.durable import make_folder, sync_folder

if TYPE_CHECKING:
    from pydicom import Dataset

Outcome = Literal["sent", "refused", "unreachable"]
JOBS_AT_ONCE = 20
"""Exams sent before the listener looks for new ones again."""


class Destination(Protocol):
    """A PACS that takes results."""

    @property
    def name(self) -> str:
        """Its own among the destinations; letters, digits, dots, hyphens and underscores."""

    def send(self, files: Sequence[Path], kept: Callable[[Path], None]) -> Outcome:
        """Sends the files, calls ``kept`` for each that the PACS keeps, and returns how it went; raises nothing."""


class Outbox:
    """``JOB/DESTINATION/NUMBER.dcm``; a job appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)
        folder.chmod(0o700)
        for partial in folder.glob(".*.partial"):
            shutil.rmtree(partial)

    def has(self, job: str) -> bool:
        """Returns whether results of this job wait."""
        return (self._folder / job).is_dir()

    def put(self, job: str, objects: Sequence[Dataset], destinations: Sequence[str]) -> None:
        """Keeps the objects for each destination, durable when this returns; a job that is here already stays.

        Raises:
            OSError: They cannot be written; nothing of them is left.
        """
        if self.has(job):
            return
        partial = self._folder / f".{job}.partial"
        try:
            for name in destinations:
                _write(partial / name, objects)
            if partial.exists():
                sync_folder(partial)
                partial.replace(self._folder / job)
                sync_folder(self._folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def jobs(self, destination: str) -> list[str]:
        """Returns the jobs that wait for a destination, oldest first."""
        places = [place for place in self._folder.glob(f"[!.]*/{destination}") if place.is_dir()]
        return [place.parent.name for place in sorted(places, key=lambda place: (place.stat().st_mtime, place))]

    def files(self, job: str, destination: str) -> list[Path]:
        """Returns the objects of a job that wait for a destination."""
        return sorted((self._folder / job / destination).glob("*.dcm"))

    def kept(self, path: Path) -> None:
        """Drops an object that its destination keeps, and the folders that are empty then."""
        path.unlink()
        for place in (path.parent, path.parent.parent):
            if not any(place.iterdir()):
                place.rmdir()

    @property
    def waiting(self) -> int:
        """Objects that wait, for whichever destination."""
        return sum(1 for _ in self._folder.glob("[!.]*/*/*.dcm"))


def _write(place: Path, objects: Sequence[Dataset]) -> None:
    place.mkdir(parents=True)
    for number, one in enumerate(objects):
        buffer = io.BytesIO()
        one.save_as(buffer, enforce_file_format=True)
        write_whole(place / f"{number:03d}.dcm", buffer.getvalue())
    sync_folder(place)


@dataclasses.dataclass(slots=True)
class Delivery:
    """Sends what waits, again and again, with growing pauses: of a destination that does not answer, of a job refused.

    Attributes:
        outbox: What waits.
        destinations: Whom it waits for.
        clock: Seconds that never go back.
        backoff: The pauses.
    """

    outbox: Outbox
    destinations: Sequence[Destination]
    clock: Callable[[], float]
    backoff: Backoff = dataclasses.field(default_factory=lambda: Backoff(first=5, longest=600))
    _failures: dict[tuple[str, str], tuple[int, float]] = dataclasses.field(default_factory=dict)

    def flush(self) -> Mapping[Outcome, int]:
        """Returns how many jobs ended how, of those that were due."""
        counts: dict[Outcome, int] = {"sent": 0, "refused": 0, "unreachable": 0}
        for destination in self.destinations:
            for outcome in self._flush(destination):
                counts[outcome] += 1
        return counts

    def _flush(self, destination: Destination) -> list[Outcome]:
        outcomes: list[Outcome] = []
        whole = (destination.name, "")
        due = [job for job in self.outbox.jobs(destination.name) if self._is_due((destination.name, job))]
        for job in due[:JOBS_AT_ONCE] if self._is_due(whole) else ():
            outcomes.append(destination.send(self.outbox.files(job, destination.name), self.outbox.kept))
            self._note((destination.name, job), failed=outcomes[-1] == "refused")
            self._note(whole, failed=outcomes[-1] == "unreachable")
            if outcomes[-1] == "unreachable":
                break
        return outcomes

    def _is_due(self, what: tuple[str, str]) -> bool:
        return self.clock() >= self._failures.get(what, (0, 0.0))[1]

    def _note(self, what: tuple[str, str], *, failed: bool) -> None:
        if not failed:
            self._failures.pop(what, None)
            return
        failures = self._failures.get(what, (0, 0.0))[0] + 1
        self._failures[what] = (failures, self.clock() + self.backoff.pause(failures))
