"""From received exams to sent results: one loop, in which each step can be cut short and is taken up again."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from client.node.pacs_outbox import Delivery
from client.node.pacs_spool import Spool, Study
from common.errors import ConfigError, TrustError
from common.services.supervisor import Backoff

if TYPE_CHECKING:
    from pydicom import Dataset

Read = Callable[[Study], Sequence["Dataset"]]
"""Returns the objects of an exam, the report first; none where no object can be written of it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds.

    Attributes:
        quiet: Without a new image after which a study is complete.
        keep: That images stay after they were read, for images that come late.
    """

    quiet: float = 30.0
    keep: float = 3600.0


@dataclasses.dataclass(slots=True)
class Loop:
    """Reads what is complete, sends what waits, drops what is old.

    Attributes:
        spool: Of images.
        delivery: Of results.
        read: Makes results of a study; it may raise, and is asked again later.
        pace: Of the studies.
        clock: Seconds that never go back.
        last_error: What was wrong with the last study that could not be read; empty: none.
    """

    spool: Spool
    delivery: Delivery
    read: Read
    pace: Pace
    clock: Callable[[], float]
    backoff: Backoff = dataclasses.field(default_factory=lambda: Backoff(first=5, longest=600))
    last_error: str = ""
    _failures: dict[str, tuple[int, float]] = dataclasses.field(default_factory=dict)
    _made: dict[str, Mapping[str, str] | None] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Takes up studies whose results were written before a crash, and only then may they be sent."""
        for study in self.spool.due(0):
            if self.delivery.outbox.has(job_name(study)):
                self.spool.mark_read(study, self._written(job_name(study)))

    def turn(self) -> Mapping[str, int]:
        """Returns how many studies were read, without any object, failed; and jobs sent, refused, unreachable."""
        counts = {"read": 0, "without": 0, "failed": 0}
        for study in self.spool.due(self.pace.quiet):
            if self.clock() >= self._failures.get(study.key, (0, 0.0))[1]:
                counts[self._one(study)] += 1
        sent = self.delivery.flush()
        self.spool.purge(self.pace.keep)
        return counts | {str(name): number for name, number in sent.items()}

    def _one(self, study: Study) -> str:
        job = job_name(study)
        try:
            if job not in self._made:
                self._made[job] = self._make(study, job)
            self.spool.mark_read(study, self._made[job])
        except Exception as error:
            # One bad exam must not end the loop for all others. Texts of other errors may hold a name.
            told = isinstance(error, ConfigError | TrustError)
            self.last_error = f"{type(error).__name__}{f': {error}' if told else ''}"
            failures = self._failures.get(study.key, (0, 0.0))[0] + 1
            self._failures[study.key] = (failures, self.clock() + self.backoff.pause(failures))
            return "failed"
        self._failures.pop(study.key, None)
        return "without" if self._made.pop(job) is None else "read"

    def _make(self, study: Study, job: str) -> Mapping[str, str] | None:
        """Returns what the report is called whose objects are in the outbox now; None: there is none."""
        objects = self.read(study)
        if not objects:
            return None
        self.delivery.outbox.put(job, objects, [destination.name for destination in self.delivery.destinations])
        return _named(objects[0])

    def _written(self, job: str) -> Mapping[str, str] | None:
        from pydicom import dcmread

        for destination in self.delivery.destinations:
            for path in self.delivery.outbox.files(job, destination.name)[:1]:
                return _named(dcmread(path, stop_before_pixels=True))
        return None


def job_name(study: Study) -> str:
    """Returns what the results of a study with these images are called, the same after a crash."""
    names = "\n".join(path.name for path in study.files)
    return hashlib.sha256(f"{study.key}\n{names}".encode()).hexdigest()[:32]


def _named(report: Dataset) -> Mapping[str, str]:
    from common.inference.dicom_origin import Predecessor

    return dataclasses.asdict(Predecessor.of(report))
