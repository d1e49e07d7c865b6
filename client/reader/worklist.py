"""Which exams there are to read, and which answers of the model are known of them already."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import DataError, UsageError

if TYPE_CHECKING:
    from common.inference.exams import Exam
    from common.inference.record import InferenceRecord

SPOOL = "pacs/images"
"""Where ``oncofed-site listen`` keeps images, below the site's folder."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What the command was told to show.

    Attributes:
        home: The site's folder, which need not be there.
        places: Files and folders of images.
        out: Folder that ``oncofed-site predict --out`` wrote; None: none.
        package: Folder of a package named by hand; None: the active one.
        threads: Processor threads of the network.
    """

    home: Path
    places: tuple[Path, ...] = ()
    out: Path | None = None
    package: Path | None = None
    threads: int = 1

    @property
    def keeps(self) -> Path:
        """Where answers are kept: the site's folder, else that of the results.

        Raises:
            UsageError: There is neither.
        """
        if self.home.is_dir():
            return self.home
        if self.out is None:
            raise UsageError(f"There is no site at {self.home}; name a folder for your answers with --out")
        return self.out


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """An answer of the model that is on record: its id, whether it is one, and its reasons if it is none."""

    record: str
    abstained: bool
    above: bool | None
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """One exam of the worklist.

    Attributes:
        id: Names it in addresses; tells nothing of it.
        name: The site's own key of it.
        taken: Day of the exam, as 2026-01-31; empty: not known.
        modality: DICOM modality; empty: not known.
        images: Number of its files.
        known: What the model in use said of it; None: it was not asked yet.
    """

    id: str
    name: str
    taken: str
    modality: str
    images: int
    known: Known | None

    def of(self, known: Known) -> Listed:
        """Returns the same exam with an answer."""
        return dataclasses.replace(self, known=known)


def check(source: Source) -> None:
    """Raises UsageError where there is nothing to read from, or no place for answers."""
    if not source.places and source.out is None and not (source.home / SPOOL).is_dir():
        raise UsageError("Name images or folders, a folder with --in, or one that predict wrote with --out")
    _ = source.keeps


def find(source: Source) -> tuple[tuple[Exam, ...], int]:
    """Returns the exams, and of how many results the images are gone.

    They are those of the places named, else those of the results, else those in the listener's spool, which may be
    empty.

    Raises:
        DataError: A place is gone, or holds no image; a result is damaged.
    """
    from common.inference.exams import find_exams

    if source.places:
        return find_exams(source.places).exams, 0
    if source.out is not None:
        return _of_results(source.out)
    spool = source.home / SPOOL
    return (find_exams([spool]).exams if next(spool.glob("*/*.dcm"), None) else ()), 0


def _of_results(folder: Path) -> tuple[tuple[Exam, ...], int]:
    results = [_result(path) for path in sorted(folder.glob("*.json"))]
    if not results:
        raise DataError(f"{folder} holds no result of `oncofed-site predict --out`; name the images with --in")
    latest = {files: (key, patient) for key, patient, files in results}
    there = {files: names for files, names in latest.items() if all(path.is_file() for path in files)}
    return tuple(_exam(*names, files) for files, names in there.items()), len(latest) - len(there)


def _result(path: Path) -> tuple[str, str, tuple[Path, ...]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return document["exam"], document["patient"], tuple(Path(one) for one in document["paths"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{path} does not say where its images are; predict again, or name them with --in") from None


def _exam(key: str, patient: str, files: tuple[Path, ...]) -> Exam:
    from common.inference.exams import Exam, find_exams

    found = find_exams(files).exams
    headers = {path: header for exam in found for path, header in zip(exam.files, exam.headers, strict=True)}
    return Exam(key, patient, files, tuple(headers.get(path) for path in files))


def exam_id(exam: Exam) -> str:
    """Returns the same digits for an exam as long as its study, or its files, are the same."""
    named = exam.study or "\n".join(str(path) for path in exam.files)
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def listed(exams: Iterable[Exam], records: Iterable[InferenceRecord]) -> tuple[Listed, ...]:
    """Returns the worklist. ``records`` are of the model in use, oldest first."""
    rows, kept = tuple(exams), tuple(records)
    by_key = {record.exam: record for record in kept}
    often = Counter(exam.key for exam in rows)
    return tuple(
        _row(exam, by_key.get(exam.key) if often[exam.key] == 1 else same(kept, exam, digests(exam))) for exam in rows
    )


def same(
    records: Sequence[InferenceRecord], exam: Exam, inputs: tuple[str, ...], model: str | None = None
) -> InferenceRecord | None:
    """Returns the latest record of an exam with these very files, of any model or of one; None: there is none."""
    found = (one for one in reversed(records) if one.inputs == inputs and one.exam == exam.key)
    return next((one for one in found if model in (None, one.model)), None)


def digests(exam: Exam) -> tuple[str, ...]:
    """Returns the SHA-256 of each file, as a record has them."""
    from common.inference.predict import file_digest

    return tuple(file_digest(path) for path in exam.files)


def _row(exam: Exam, record: InferenceRecord | None) -> Listed:
    fits = record is not None and len(record.inputs) == len(exam.files)
    taken = "" if exam.taken is None else exam.taken.isoformat()
    return Listed(exam_id(exam), exam.key, taken, exam.tag("modality") or "", len(exam.files),
                  known_of(record) if record is not None and fits else None)  # fmt: skip


def known_of(record: InferenceRecord) -> Known:
    """Returns what the page needs of a record."""
    return Known(record.record, record.abstained, record.above_threshold, tuple(map(str, record.reasons)))
