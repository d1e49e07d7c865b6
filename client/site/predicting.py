"""Exams through the packages of a site: one result each, one line each in the site's records, files where asked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.site.packages import RECORDS, KeptPackages, Pointer
from common.errors import ConfigError, OncoFedError, TrustError
from common.notice import RESEARCH_USE

if TYPE_CHECKING:
    from common.inference.exams import Exam
    from common.inference.predict import Prediction, Predictor


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """What is used for the exams.

    Attributes:
        active: Whose results are shown and written.
        shadow: Runs on the same exams, and leaves a record only; None: there is none.
        problem: Why the site's shadow does not run; empty where it does, or there is none.
        records: File of the records; None: none are kept.
        out: Folder of results and pictures; None: none are written.
    """

    active: Predictor
    shadow: Predictor | None
    records: Path | None
    out: Path | None
    problem: str = ""


def reading(home: Path, package: Path | None, out: Path | None, threads: int = 1) -> Reading:
    """Returns what a site reads exams with.

    Args:
        home: The site's folder, which need not be there where ``package`` is named.
        package: Folder of a package named by hand; None: the active one of the site.
        out: Folder of the results, made if need be.
        threads: Processor threads of the network.

    Raises:
        ConfigError: No package is named and none is active.
        ModelError, TrustError: A package is refused.
    """
    kept = KeptPackages(home)
    records = kept.records if home.is_dir() else out / RECORDS if out is not None else None
    if package is not None:
        return Reading(_by_hand(kept, package, threads), None, records, out)
    active = _active(kept, threads)
    shadow, problem = _shadow(kept, threads)
    return Reading(active, shadow, records, out, problem)


def _by_hand(kept: KeptPackages, package: Path, threads: int) -> Predictor:
    """Returns a package that the site keeps, with what it measured; of any other, what came with it is not believed."""
    from common.inference.local import read_local
    from common.inference.package import load_package
    from common.inference.predict import Predictor

    if package.resolve().parent == kept.path.resolve():
        found = kept.load(package.resolve().name, threads)
        return Predictor(found, read_local(found))
    return Predictor(load_package(package, datetime.now(UTC), kept.pins({}), threads=threads))


def _active(kept: KeptPackages, threads: int) -> Predictor:
    from common.inference.local import read_local
    from common.inference.predict import Predictor

    digest = kept.pointer().active
    if digest is None:
        raise ConfigError("No model is active at this site; name a package with --package FOLDER")
    package = kept.load(digest, threads)
    return Predictor(package, read_local(package), "active")


def _shadow(kept: KeptPackages, threads: int) -> tuple[Predictor | None, str]:
    """Returns the shadow, or why it does not run: a shadow that is refused takes no result of the active one away."""
    from common.inference.local import read_local
    from common.inference.predict import Predictor

    digest = kept.pointer().shadow
    if digest is None:
        return None, ""
    try:
        package = kept.load(digest, threads)
        return Predictor(package, read_local(package), "shadow"), ""
    except OncoFedError as error:
        return None, f"The shadow does not run: {error}"


@dataclasses.dataclass(slots=True)
class InUse:
    """The packages that a site uses now, loaded again where it chose others: a suspended model stops at once.

    Attributes:
        home: The site's folder.
        package: Folder of a package named by hand; None: the active one.
        threads: Processor threads of the network.
        records: Where each prediction leaves a line, where there is no site; None: nowhere.
        meanwhile: What becomes of exams that nothing reads, in words.
    """

    home: Path
    package: Path | None = None
    threads: int = 1
    records: Path | None = None
    meanwhile: str = "no exam is read"
    _using: Reading | None = None
    _pointer: Pointer | None = None

    def __call__(self) -> Reading:
        """Returns what exams are read with now.

        Raises:
            ConfigError: No package is active.
            ModelError, TrustError: A package is refused, or its validation has expired.
        """
        pointer = None if self.package is not None else KeptPackages(self.home).pointer()
        if pointer is not None and pointer.active is None:
            raise ConfigError(f"No model is active at this site; {self.meanwhile}")
        if self._using is None or pointer != self._pointer:
            using = reading(self.home, self.package, None, self.threads)
            self._using = using if using.records else dataclasses.replace(using, records=self.records)
            self._pointer = pointer
        expires = self._using.active.package.manifest.expires
        if datetime.now(UTC) >= expires:
            raise TrustError(f"The validation of the model expired on {expires.date()}; {self.meanwhile}")
        return self._using


def read_exams(exams: Iterable[Exam], using: Reading) -> Iterator[tuple[Prediction, dict[str, Any]]]:
    """Yields each exam's prediction with its document, once its record is durable and its files are written.

    One exam is in memory at a time.

    Raises:
        DataError: A record or a file cannot be written.
    """
    from common.inference.record import append

    for exam in exams:
        found = using.active.predict(exam)
        # Files first: an exam that has a record has all of its files.
        document = written(found, using.active, exam, using.out)
        if using.records is not None:
            append(using.records, found.record)
            if using.shadow is not None:
                append(using.records, using.shadow.predict(exam).record)
        yield found, document


def written(found: Prediction, by: Predictor, exam: Exam, out: Path | None) -> dict[str, Any]:
    """Returns the exam's document, having written it and the pictures to ``out``; None: nothing is written."""
    from common.inference.picture import verdict, write_pictures
    from common.inference.record import to_line

    name = file_name(exam.key, found.record.record)
    pictures = [] if out is None else write_pictures(found, by.package, out, name)
    record: dict[str, Any] = json.loads(to_line(found.record))
    document = record | {
        "notice": RESEARCH_USE,
        "files": [path.name for path in exam.files],
        "paths": [str(path) for path in exam.files],
        "scores": list(found.scores),
        "told": list(found.told),
        "calibrated": {"where": found.calibration.where, "patients": found.calibration.patients},
        "attention": {"label": by.package.attention["label"], "check": verdict(by.package.attention)},
        "pictures": pictures,
    }
    if out is not None:
        (out / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return document


def file_name(exam: str, record: str) -> str:
    """Returns the name of an exam's files without suffix; no two records share one."""
    from common.names import plain_slug

    return "-".join(filter(None, (plain_slug(exam)[:60], record[:12])))


def unread(documents: Sequence[bool]) -> bool:
    """Returns whether no exam at all could be read."""
    return bool(documents) and all(documents)
