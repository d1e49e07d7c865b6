"""What a site tells its hub of a model in use: noised counts of patients in a quarter, signed. Nothing else.

Two counts: the answered patients by score, in ten fixed intervals, and all patients by answer. A patient is in one
number of each at most, however many exams she had.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from common.canonical import canonical
from common.errors import DataError, TrustError
from common.inference.record import InferenceRecord
from common.notice import RESEARCH_USE
from common.privacy.discrete import MAX_SCALE
from common.trust.signing import signature_holds

BINS = 10
"""Equal intervals of the calibrated probability, fixed and public."""
SIDES = ("above", "below", "abstained")
MAX_BYTES = 20_000
_LARGEST = 2**53
_PREFIX = b"oncofed monitoring report\n"
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Quarter = Annotated[str, Field(pattern=r"^20[0-9]{2}Q[1-4]$")]
Count = Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)]
Counts = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HubReport:
    """One report; every count carries discrete Gaussian noise and may be negative.

    Attributes:
        package: Digest of the model package.
        scores: Answered patients whose probability lies in each of ten equal intervals.
        above: Patients whose answer is at or above the threshold.
        below: Patients whose answer is below it.
        abstained: Patients without an answer.
        deviation: Standard deviation of the noise on each count, in patients.
        delta: Of the site's monitoring account.
        seeded: Whether the noise can be repeated by whoever knows a seed; then it protects nobody.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    kind: Literal["monitoring report"] = "monitoring report"
    notice: str = RESEARCH_USE
    site: Annotated[str, Field(min_length=1, max_length=64)]
    package: Digest
    quarter: Quarter
    scores: Annotated[tuple[Count, ...], Field(min_length=BINS, max_length=BINS)]
    above: Count
    below: Count
    abstained: Count
    deviation: Annotated[int, Field(ge=1, le=MAX_SCALE)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    seeded: bool
    signature: Annotated[str, Field(pattern=r"^([0-9a-f]{128})?$")] = ""

    def __post_init__(self) -> None:
        """Holds the notice to the one that stands everywhere."""
        if self.notice != RESEARCH_USE:
            raise ValueError(f"expected the notice {RESEARCH_USE!r}")

    @property
    def message(self) -> bytes:
        """What the site signs."""
        return _PREFIX + canonical({k: v for k, v in self.to_json().items() if k != "signature"}).encode()

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        document: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return document

    def text(self) -> str:
        """Returns the file's text."""
        return json.dumps(self.to_json(), indent=2) + "\n"

    def signed(self, sign: Callable[[bytes], str]) -> HubReport:
        """Returns the report with its Ed25519 signature."""
        return dataclasses.replace(self, signature=sign(self.message))

    def check(self, public_hex: str) -> None:
        """Checks the signature.

        Raises:
            TrustError: It is not that of the key, or the report was changed since.
        """
        if not signature_holds(public_hex, self.message, self.signature):
            raise TrustError(f"The report of {self.site} for {self.quarter} does not carry the signature of that site")


_ADAPTER = TypeAdapter(HubReport)


def read_report(path: Path) -> HubReport:
    """Returns the report of a file; its signature is not checked yet.

    Raises:
        DataError: It cannot be read, or is no report.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise DataError(f"{path} is larger than a report can be; ask the site for it again")
        return _ADAPTER.validate_json(text)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); copy it again") from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_url=False)[0]["loc"])) or "its start"
        raise DataError(f"{path} is no monitoring report (at {where}); ask the site for it again") from None


def days_of(quarter: str) -> tuple[date, date]:
    """Returns the first day of a quarter such as ``2026Q4``, and the first day after it.

    Raises:
        DataError: It is no quarter.
    """
    try:
        name = TypeAdapter(Quarter).validate_python(quarter)
    except ValidationError:
        raise DataError(f"Expected a quarter such as 2026Q4, got {quarter!r:.20}") from None
    year, month = int(name[:4]), 3 * int(name[5]) - 2
    return date(year, month, 1), date(year + month // 10, (month + 2) % 12 + 1, 1)


def counted(patients: Sequence[InferenceRecord]) -> Mapping[str, Counts]:
    """Returns ``scores`` (10,) and ``sides`` (3,), exact: one record a patient in each of them at most once."""
    answered = [one for one in patients if not one.abstained]
    bins = [min(BINS - 1, int(BINS * (one.probability or 0.0))) for one in answered]
    above = sum(bool(one.above_threshold) for one in answered)
    sides = [above, len(answered) - above, len(patients) - len(answered)]
    scores = np.bincount(np.array(bins, np.int64), minlength=BINS).astype(np.int64)
    return {"scores": scores, "sides": np.array(sides, np.int64)}
