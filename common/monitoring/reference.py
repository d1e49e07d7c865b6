"""The frozen local reference: what the site's exams looked like when people agreed that all was well."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from common.errors import DataError, TrustError
from common.inference.record import InferenceRecord
from common.monitoring.cusum import LEAST
from common.monitoring.shift import Column
from common.trust.journal import canonical

TAGS = ("modality", "manufacturer", "device")
UNKNOWN = "not told"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FrozenReference:
    """One exam a patient, in the order of their days.

    Attributes:
        model: Digest of the package that answered.
        first: Day of the first exam.
        last: Day of the last one; the streams begin after it.
        exams: How many.
        numbers: Values of each measure, of the exams that have it.
        words: Values of each tag.
        probabilities: Of the exams that were answered.
        above: Of the same: 1 where above the threshold.
        abstained: Of all exams: 1 where no answer was given.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    model: str
    first: date
    last: date
    exams: Annotated[int, Field(ge=LEAST)]
    numbers: Mapping[str, tuple[float, ...]]
    words: Mapping[str, tuple[str, ...]]
    probabilities: tuple[float, ...]
    above: tuple[int, ...]
    abstained: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        found: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return found

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of its canonical JSON."""
        return hashlib.sha256(canonical(self.to_json()).encode()).hexdigest()

    def columns(self) -> dict[str, Column]:
        """Returns its numbers and words by measure."""
        return {**self.numbers, **self.words}


_ADAPTER = TypeAdapter(FrozenReference)


def frozen(records: Sequence[InferenceRecord], model: str, first: date, last: date) -> FrozenReference:
    """Returns the reference of a model's exams of these days, the first of each patient.

    Raises:
        DataError: They are of fewer than 20 patients.
    """
    chosen = one_a_patient(record for record in records if record.model == model and first <= day_of(record) <= last)
    if len(chosen) < LEAST:
        raise DataError(
            f"A reference needs exams of {LEAST} patients; from {first} to {last} the model had {len(chosen)}. Choose "
            "more days"
        )
    answered = [record for record in chosen if not record.abstained]
    columns = columns_of(chosen)
    return FrozenReference(
        model=model, first=first, last=last, exams=len(chosen),
        numbers={name: values for name, values in columns.items() if name not in TAGS},
        words={name: columns[name] for name in TAGS if name in columns},
        probabilities=tuple(record.probability or 0.0 for record in answered),
        above=tuple(int(bool(record.above_threshold)) for record in answered),
        abstained=tuple(int(record.abstained) for record in chosen),
    )  # fmt: skip


def read_reference(text: str, digest: str) -> FrozenReference:
    """Returns the reference of a file.

    Raises:
        TrustError: It is not the one that people signed, or damaged.
    """
    try:
        found = _ADAPTER.validate_json(text)
    except ValidationError:
        raise TrustError("The monitor's reference is damaged; restore it from a backup") from None
    if found.digest != digest:
        raise TrustError("The monitor's reference is not the one that was signed; restore it from a backup")
    return found


def columns_of(records: Sequence[InferenceRecord]) -> dict[str, Any]:
    """Returns the measures and tags of exams; measures that fewer than all have are those of the exams that do."""
    names = sorted({name for record in records for name in record.appearance})
    found: dict[str, Any] = {
        name: tuple(record.appearance[name] for record in records if name in record.appearance) for name in names
    }
    distances = tuple(record.feature_distance for record in records if record.feature_distance is not None)
    found |= {"feature distance": distances} if distances else {}
    return found | {tag: tuple(getattr(record, tag) or UNKNOWN for record in records) for tag in TAGS}


def one_a_patient(records: Any) -> list[InferenceRecord]:
    """Returns the first record of each patient, in the order in which they were made."""
    found: dict[str, InferenceRecord] = {}
    for record in sorted(records, key=lambda one: one.made):
        found.setdefault(record.patient, record)
    return list(found.values())


def one_an_exam(records: Any) -> list[InferenceRecord]:
    """Returns the latest record of each exam, in the order in which each exam was first seen."""
    found: dict[str, InferenceRecord] = {}
    for record in sorted(records, key=lambda one: one.made):
        found[record.exam] = record
    return list(found.values())


def day_of(record: InferenceRecord) -> date:
    """Returns the day on which the model was run."""
    return record.made.date()
