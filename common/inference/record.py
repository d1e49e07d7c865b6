"""What is kept of one prediction: one JSON line an exam, at the site, for its monitor and its auditors.

``exam`` and ``patient`` are the site's own keys. So the file stays at the site; nothing here travels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError

from common.errors import DataError
from common.inference.reasons import Reason
from common.trust.durable import append_line, make_folder

FILE = "records.jsonl"
CLASSES = ("benign", "malignant")

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Key = Annotated[str, Field(min_length=1, max_length=512)]
Tag = Annotated[str, Field(max_length=128)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRecord:
    """One model on one exam.

    Guarantees: it abstained exactly when it gives a reason; without a logit it has no probability and no set; an exam
    that could not be read whole has no logit.

    Attributes:
        record: UUID4 in hex.
        exam: Accession number or exam key, the site's own.
        patient: The site's own key of the patient.
        taken: Day of the exam; None: not known.
        made: When the model was run, UTC.
        model: Digest of the package.
        state: What the package was at this site then; ``none``: named by hand.
        inputs: SHA-256 of each file, in the order of their names.
        modality: DICOM modality; None: not known, as of a PNG.
        manufacturer: DICOM tag; None: not known.
        device: Manufacturer's model name; None: not known.
        probability: Calibrated probability of malignancy.
        logit: Of the network, before calibration: the mean over the exam's images.
        set: Conformal prediction set; None: too few calibration patients to tell one.
        threshold: From which probability on an exam counts as malignant.
        above_threshold: Whether it does; None without a probability.
        appearance: Measures of :mod:`common.data.intake.appearance`, mean over the images.
        feature_distance: Distance of the features to the site's own reference; None: the site has none.
        versions: Name to version of the programs that made it.
        seconds: From the first file opened to the result.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    schema_version: Literal[1] = 1
    record: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    exam: Key
    patient: Key
    taken: date | None
    made: AwareDatetime
    model: Digest
    state: Literal["active", "shadow", "none"]
    inputs: tuple[Digest, ...]
    modality: Tag | None
    manufacturer: Tag | None
    device: Tag | None
    probability: Share | None
    logit: float | None
    set: tuple[Literal["benign", "malignant"], ...] | None
    threshold: Share
    above_threshold: bool | None
    abstained: bool
    reasons: tuple[Reason, ...]
    appearance: Mapping[str, float]
    feature_distance: float | None
    versions: Mapping[str, str]
    seconds: Annotated[float, Field(ge=0)]

    def __post_init__(self) -> None:
        """Holds the fields to each other."""
        if self.abstained != bool(self.reasons):
            raise ValueError("expected a reason exactly where the model abstained")
        if (self.logit is None) != (self.probability is None) or (self.logit is None) != (self.above_threshold is None):
            raise ValueError("expected logit, probability and above_threshold together, or none of them")
        if self.logit is None and (self.set is not None or not self.abstained):
            raise ValueError("expected an abstention and no set without a logit")
        if Reason.UNREADABLE in self.reasons and self.logit is not None:
            raise ValueError("expected no score of an exam that could not be read whole")


@dataclasses.dataclass(frozen=True, slots=True)
class Records:
    """What a file of records holds, oldest first; ``torn``: its last line was cut short by a crash and is left out."""

    records: tuple[InferenceRecord, ...]
    torn: bool


_ADAPTER = TypeAdapter(InferenceRecord)


def to_line(record: InferenceRecord) -> str:
    """Returns the record as one line of JSON without its end."""
    return _ADAPTER.dump_json(record).decode()


def from_line(line: str | bytes) -> InferenceRecord:
    """Returns the record that :func:`to_line` wrote.

    Raises:
        DataError: It is no such line.
    """
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"]) or "the line"
        raise DataError(f"A record of a prediction is damaged at {where}; restore its file from a backup") from None


def append(path: Path, record: InferenceRecord) -> None:
    """Adds one line, durable when this returns; readable by the owner only.

    The rest of a line that a crash cut short, which was never acknowledged, makes room for it.

    Raises:
        DataError: The file cannot be written.
    """
    try:
        if not path.parent.is_dir():
            make_folder(path.parent)
        append_line(path, to_line(record).encode())
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); free the disk or mend its permissions") from None


def records(path: Path) -> Records:
    """Returns all records of a file, none where there is no file yet.

    Raises:
        DataError: It cannot be read, or a line other than a torn last one is damaged; says which.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Records((), torn=False)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); mend its permissions") from None
    *lines, rest = text.split(b"\n")
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(from_line(line))
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
    return Records(tuple(found), torn=bool(rest))
