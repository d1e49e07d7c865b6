"""The only things that travel: typed requests and answers, and their form as Flower records.

Every field is bounded on the way in. An answer is either what was asked for or a :class:`Refusal` with a code;
no exception text, path or identifier has a field to travel in.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from common.config.study import StudyConfig, from_dict
from common.errors import ConfigError, SiteCode, TrustError
from common.protocol import received
from common.protocol.aggregation import MAX_TOTAL_WEIGHT
from common.protocol.secure_sum import Announcement, Roster, Words

BODY = "oncofed"
ARRAYS = "arrays"
VALUES = "values"
MASKED = "masked"
"""Name of a masked answer's only tensor, and the kind of that answer."""
CLAIMS, SIGNATURE = "claims", "signature"
"""Fields of a request that :mod:`common.protocol.signed_request` writes and reads."""
MAX_TEXT = 4_000_000
MAX_RUN = 64
MAX_SITE = 64
MAX_DIGEST = 64
MAX_DEVICE = 16
MAX_ROUND = 1_000_000
MAX_ATTEMPT = 1_000
MAX_ROSTER = 1_000
MAX_SIGNATURE = 128
MAX_PROTOCOL = 1_000_000
MAX_TENSORS = 4096
MAX_DIMENSIONS = 8
MAX_VALUES = 200_000_000
_RUN = re.compile(rf"[0-9a-f]{{1,{MAX_RUN}}}")
"""No words, which people would read in journals, and none of a site's own, as ``restore`` in its ledger."""
Purpose = Literal["enrol", "train", "evaluate", "baseline", "attention", "statement"]
Split = Literal["val", "test"]
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the hub asks of a site.

    Attributes:
        purpose: What to do.
        study: The whole study; its digest travels beside it and is compared on arrival.
        run: Identifier of the run, hex.
        round_index: 1-based round, 0 outside the rounds.
        split: Which patients to evaluate on.
        arrays: Global weights of the trained tensors, float32; empty where none are needed.
        rehearsal: Whether the site answers with synthetic patients, and charges nothing.
        roster: The sites of a secure sum, whose update is asked for masked; empty: each site's update is.
        attempt: Of the round's secure sum, from 1; 0 without one.
    """

    purpose: Purpose
    study: StudyConfig
    run: str
    round_index: int = 0
    split: Split = "val"
    arrays: Arrays = field(default_factory=dict)
    rehearsal: bool = False
    roster: Roster = ()
    attempt: int = 0

    def __post_init__(self) -> None:
        """Refuses what the types forbid, since a hub can send anything: scores of training patients above all."""
        if self.purpose not in get_args(Purpose) or self.split not in get_args(Split):
            raise ConfigError(
                f"Expected a purpose of {', '.join(get_args(Purpose))} and a split of {', '.join(get_args(Split))}; "
                "the hub asks for something else and must run the same OncoFed version"
            )
        if type(self.round_index) is not int or self.round_index < 0:
            raise ConfigError("Expected a whole round_index of at least 0 from the hub")
        received.check_whole("attempt", self.attempt, 0, MAX_ATTEMPT)
        if len(self.roster) > MAX_ROSTER:
            raise ConfigError(f"Expected at most {MAX_ROSTER} sites in a secure sum")
        received.check_flag("rehearsal", self.rehearsal)
        if not isinstance(self.run, str) or not _RUN.fullmatch(self.run):
            raise ConfigError(f"Expected the name of a run, 1 to {MAX_RUN} hex digits, from the hub")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A site's no, with the only explanation that may leave it."""

    site: str
    code: SiteCode


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCard:
    """How a site introduces itself; every number is declared or suppressed by the site.

    Attributes:
        declared_patients: Public size of the training cohort.
        input_shape: Shape of one network input, (C, H, W) or (F,).
        counts: Patients by split and class; None where below the site's minimum cell.
        frozen_digest: SHA-256 of the weights that are not trained.
        protocol: Version of the messages that the site speaks.
        mathematics_digest: SHA-256 of the site's sources that its numbers depend on.
        code_digest: SHA-256 of all of the site's code.
        dataset: Name, citation, licence and notes of public data (empty in a hospital).
        readiness: Its readiness certificate, where the study asks for one.
        announcement: With what it joins the run's secure sums, where the study has them.
        device: Kind of processor that its networks run on, ``cpu`` or ``cuda``; empty: it does not say.
    """

    site: str
    declared_patients: int
    input_shape: tuple[int, ...]
    counts: Mapping[str, Mapping[str, int | None]]
    frozen_digest: str
    protocol: int
    mathematics_digest: str
    code_digest: str
    seeded: bool
    synthetic: bool
    dataset: Mapping[str, Any]
    readiness: Mapping[str, Any] | None = None
    announcement: Announcement | None = None
    device: str = ""

    def __post_init__(self) -> None:
        """Refuses what the types forbid, since a site can send anything; a certificate has a check of its own."""
        received.check_text("site", self.site, MAX_SITE)
        received.check_whole("declared_patients", self.declared_patients, 1, MAX_TOTAL_WEIGHT)
        received.check_shape(self.input_shape)
        received.check_counts(self.counts)
        received.check_text("frozen_digest", self.frozen_digest, MAX_DIGEST)
        received.check_whole("protocol", self.protocol, 0, MAX_PROTOCOL)
        received.check_text("mathematics_digest", self.mathematics_digest, MAX_DIGEST)
        received.check_text("code_digest", self.code_digest, MAX_DIGEST)
        received.check_flag("seeded", self.seeded)
        received.check_flag("synthetic", self.synthetic)
        received.check_texts("dataset", self.dataset)
        received.check_text("device", self.device, MAX_DEVICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainAnswer:
    """A site's update of one round: the difference of the trained tensors, float32.

    Attributes:
        weight: Public weight of the site in the mean.
        epsilon_spent: Epsilon of the site's cohort for this study so far; None when not private.
    """

    site: str
    round_index: int
    weight: int
    epsilon_spent: float | None
    arrays: Arrays

    def __post_init__(self) -> None:
        """Refuses what the types forbid; whether it is what was asked for, the hub sees."""
        received.check_text("site", self.site, MAX_SITE)
        received.check_whole("round_index", self.round_index, 0, MAX_ROUND)
        received.check_whole("weight", self.weight, 1, MAX_TOTAL_WEIGHT)
        received.check_epsilon(self.epsilon_spent)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedAnswer:
    """A site's part of a secure sum: noisy, masked, and of no meaning but in the sum of its roster.

    Attributes:
        weight: Public weight of the site in the mean.
        epsilon_spent: Epsilon of the site's cohort for this study so far.
        masked: Steps of the grid modulo 2^64, uint64 (D,): all trained tensors, one after the other.
    """

    site: str
    round_index: int
    attempt: int
    weight: int
    epsilon_spent: float | None
    masked: Words

    def __post_init__(self) -> None:
        """Refuses what the types forbid; whether it is what was asked for, the hub sees."""
        received.check_text("site", self.site, MAX_SITE)
        received.check_whole("round_index", self.round_index, 0, MAX_ROUND)
        received.check_whole("attempt", self.attempt, 0, MAX_ATTEMPT)
        received.check_whole("weight", self.weight, 1, MAX_TOTAL_WEIGHT)
        received.check_epsilon(self.epsilon_spent)
        if self.masked.dtype != np.uint64 or self.masked.ndim != 1:
            raise ConfigError("Expected a masked update to be flat uint64")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentAnswer:
    """A JSON document: a score state or a privacy statement."""

    site: str
    document: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuses what the types forbid."""
        received.check_text("site", self.site, MAX_SITE)
        received.check_document(self.document)


Answer = SiteCard | TrainAnswer | MaskedAnswer | DocumentAnswer
_ANSWERS: dict[str, type[Answer]] = {
    "card": SiteCard, "train": TrainAnswer, "masked": MaskedAnswer, "document": DocumentAnswer,
}  # fmt: skip
_NAMES = {kind: name for name, kind in _ANSWERS.items()}


def pack_request(request: Request) -> RecordDict:
    """Returns the request as Flower records."""
    body = {
        "purpose": request.purpose,
        "study": json.dumps(request.study.travelling(), sort_keys=True),
        "study_digest": request.study.digest(),
        "run": request.run,
        "round_index": request.round_index,
        "split": request.split,
        "rehearsal": request.rehearsal,
        "roster": json.dumps([asdict(one) for one in request.roster]),
        "attempt": request.attempt,
    }
    return _pack(body, request.arrays)


def unpack_request(content: RecordDict) -> Request:
    """Returns the hub's request.

    Raises:
        ConfigError: A field is missing, too large or of the wrong kind.
        TrustError: The study is not the one its digest names.
    """
    body, arrays = _unpack(content)
    body = {name: value for name, value in body.items() if name not in (CLAIMS, SIGNATURE)}
    study = from_dict(received.parse_object(body.pop("study", "")))
    if study.digest() != body.pop("study_digest", ""):
        raise TrustError("The study that came does not match its digest; ask the hub to send it again")
    roster = _roster(body.pop("roster", "[]"))
    try:
        return Request(study=study, arrays=arrays, roster=roster, **body)
    except TypeError as error:
        raise ConfigError(f"The hub's request has the wrong fields: {error}") from None


def pack_answer(answer: Answer | Refusal) -> RecordDict:
    """Returns the answer as Flower records."""
    if isinstance(answer, Refusal):
        return _pack({"status": "refused", "site": answer.site, "code": answer.code.value, **_unguessable()}, {})
    kind = _NAMES[type(answer)]
    body = {"status": "ok", "kind": kind, "site": answer.site, "answer": json.dumps(_shallow(answer))}
    return _pack(body | _unguessable(), _arrays_of(answer))


def _unguessable() -> dict[str, str]:
    """Returns a random text, without which another site could name an answer's hash to the SuperLink before it came."""
    return {"nonce": secrets.token_hex(16)}


def unpack_answer(content: RecordDict) -> Answer | Refusal:
    """Returns a site's answer.

    Raises:
        ConfigError: It is malformed, oversized or of an unknown kind.
    """
    body, arrays = _unpack(content)
    site = str(body.get("site", ""))[:MAX_SITE]
    if body.get("status") != "ok":
        return Refusal(site=site, code=_code(body.get("code")))
    kind = _ANSWERS.get(str(body.get("kind")))
    said = received.parse_object(body.get("answer", ""))
    if kind is None or said.get("site") != site:
        raise ConfigError("A site's answer is of an unknown kind")
    try:
        if kind is TrainAnswer:
            said["arrays"] = arrays
        elif kind is MaskedAnswer:
            said["masked"] = arrays.get(MASKED, np.empty(0))
        elif kind is SiteCard:
            said["input_shape"] = tuple(said.get("input_shape", ()))
            said["announcement"] = _announcement(said.get("announcement"))
        return kind(**said)
    except TypeError as error:
        raise ConfigError(f"A site's answer has the wrong fields: {error}") from None


def _shallow(answer: Answer) -> dict[str, Any]:
    """Returns the fields of an answer but for its arrays, which are not copied."""
    if isinstance(answer, TrainAnswer | MaskedAnswer):
        return {one.name: getattr(answer, one.name) for one in fields(answer) if one.name not in (ARRAYS, MASKED)}
    return asdict(answer)


def _arrays_of(answer: Answer) -> Mapping[str, NDArray[Any]]:
    if isinstance(answer, MaskedAnswer):
        return {MASKED: answer.masked}
    return answer.arrays if isinstance(answer, TrainAnswer) else {}


def _roster(text: object) -> Roster:
    try:
        return tuple(_announced(row) for row in received.parse_json(text))
    except TypeError:
        raise ConfigError("The roster of a secure sum must be a list of announcements") from None


def _announcement(row: object) -> Announcement | None:
    return None if row is None else _announced(row)


def _announced(row: object) -> Announcement:
    """Returns what a peer announces; whether it is signed, :func:`common.protocol.secure_sum.check_roster` sees."""
    found = Announcement(**received.check_mapping("announcement", row))
    received.check_text("site", found.site, MAX_SITE)
    received.check_whole("patients", found.patients, 1, MAX_TOTAL_WEIGHT)
    received.check_text("key", found.key, MAX_DIGEST)
    received.check_text("signature", found.signature, MAX_SIGNATURE)
    return found


def _code(text: object) -> SiteCode:
    try:
        return SiteCode(str(text))
    except ValueError:
        return SiteCode.UNKNOWN


def _pack(body: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> RecordDict:
    """All tensors travel as one: to Flower each array is several objects, each with requests of its own."""
    if not arrays:
        return RecordDict({BODY: ConfigRecord(dict(body))})
    layout = json.dumps([[name, list(value.shape)] for name, value in arrays.items()])
    values = Array(np.concatenate([value.ravel() for value in arrays.values()]))
    return RecordDict(
        {BODY: ConfigRecord({**body, "layout": layout}), ARRAYS: ArrayRecord({VALUES: values})},
    )


def _unpack(content: RecordDict) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    record = content.get(BODY)
    if not isinstance(record, ConfigRecord):
        raise ConfigError("A message without a body came; both sides must run the same OncoFed version")
    body = dict(record)
    if any(isinstance(value, str) and len(value) > MAX_TEXT for value in body.values()):
        raise ConfigError(f"A message field is longer than {MAX_TEXT} characters")
    kind = "uint64" if body.get("kind") == MASKED else "float32"
    return body, _arrays(content.get(ARRAYS), _layout(body.pop("layout", "[]")), kind)


def _layout(text: object) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each tensor by its name, in the order of their values."""
    try:
        rows = received.parse_json(text)
        found = {name: tuple(shape) for name, shape in rows}
    except (ValueError, TypeError):
        raise ConfigError("A message does not say how its values are divided into tensors") from None
    if len(rows) > MAX_TENSORS or len(found) < len(rows):
        raise ConfigError(f"Expected at most {MAX_TENSORS} tensors in a message, each with a name of its own")
    if not all(isinstance(name, str) and len(shape) <= MAX_DIMENSIONS for name, shape in found.items()):
        raise ConfigError(f"Expected a name and at most {MAX_DIMENSIONS} dimensions for each tensor of a message")
    for size in (size for shape in found.values() for size in shape):
        received.check_whole("size of a tensor", size, 0, MAX_VALUES)
    return found


def _arrays(record: object, layout: Mapping[str, tuple[int, ...]], kind: str) -> dict[str, NDArray[Any]]:
    sizes = [math.prod(shape) for shape in layout.values()]
    if sum(math.prod(max(side, 1) for side in shape) for shape in layout.values()) > MAX_VALUES:
        raise ConfigError(f"Expected at most {MAX_VALUES} values in a message")
    if record is None and not layout:
        return {}
    if not isinstance(record, ArrayRecord) or list(record) != [VALUES]:
        raise ConfigError("Expected the values of all tensors in one array of a message")
    pieces = np.split(_values(record[VALUES], sum(sizes), kind), np.cumsum(sizes)[:-1])
    return {name: piece.reshape(shape) for (name, shape), piece in zip(layout.items(), pieces, strict=True)}


def _values(array: Array, size: int, kind: str) -> NDArray[Any]:
    """Refuses an array by what it declares before its bytes are read, and by what was read once more."""
    if array.dtype != kind:
        raise ConfigError(f"Expected {kind} values in a message")
    if tuple(array.shape) != (size,) or len(array.data) > np.dtype(kind).itemsize * size + 4096:
        raise ConfigError("The values of a message do not fit the shapes of its tensors")
    try:
        values = array.numpy()
        as_declared = values.dtype == np.dtype(kind) and values.shape == (size,)
    except Exception:  # NumPy answers damaged bytes with errors of many kinds, and some zip files with no array
        raise ConfigError("The values of a message cannot be read as an array") from None
    if not as_declared:
        raise ConfigError("The bytes of a message hold other values than it declares")
    return values
