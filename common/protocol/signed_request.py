"""What the hub signs of a request, so that a site answers the hub alone, what is meant for it, and nothing old.

The signature is Ed25519 (RFC 8032) over canonical JSON. An answer names the digest of the claims that it answers, so
that one request's answer cannot stand for another's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

import numpy as np
from flwr.app import ConfigRecord, RecordDict

from common.canonical import canonical
from common.protocol.messages import BODY, CLAIMS, SIGNATURE, Arrays, Request
from common.protocol.received import parse_object
from common.protocol.secure_sum import roster_digest, sum_digest
from common.provenance import PROTOCOL_VERSION
from common.trust.signing import SiteKey, signature_holds

PROTOCOL = f"oncofed-request/{PROTOCOL_VERSION}"
ANSWERS = "answers"
"""Field of an answer: the digest of the claims that it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """All that makes a request this request.

    Attributes:
        study: Digest of the study; ``weights``: of the arrays; ``roster``: of the sites of a secure sum.
        site: Name of the site that may answer.
        number: Of the request within its run; each later one has a larger.
        expires: Last second, UTC since 1970, in which it may be answered.
    """

    study: str
    run: str
    round_index: int
    purpose: str
    split: str
    weights: str
    site: str
    number: int
    expires: int
    rehearsal: bool = False
    roster: str = ""
    attempt: int = 0
    protocol: str = PROTOCOL

    @classmethod
    def of(cls, request: Request, *, site: str, number: int, expires: int) -> Claims:
        """Returns the claims of a request to a site; reads all of its weights."""
        return cls(
            study=request.study.digest(),
            run=request.run,
            round_index=request.round_index,
            purpose=request.purpose,
            split=request.split,
            rehearsal=request.rehearsal,
            roster=roster_digest(request.roster),
            attempt=request.attempt,
            weights=weights_digest(request.arrays),
            site=site,
            number=number,
            expires=expires,
        )

    def to(self, site: str, number: int) -> Claims:
        """Returns the claims of the same request to another site."""
        return replace(self, site=site, number=number)

    def text(self) -> str:
        """Returns what is signed."""
        return canonical(asdict(self))


def addressed(content: RecordDict, claims: Claims, key: SiteKey | None) -> RecordDict:
    """Returns the content with its claims, signed where there is a key; arrays are shared, not copied."""
    text = claims.text()
    proof = {CLAIMS: text, SIGNATURE: key.sign(text.encode()) if key else ""}
    body = ConfigRecord({**_body(content), **proof})
    return RecordDict({**content, BODY: body})


def claims_text(content: RecordDict) -> str:
    """Returns the claims as they came, unchecked; empty where the request has none."""
    return str(_body(content).get(CLAIMS, ""))


def claims_digest(content: RecordDict) -> str:
    """Returns SHA-256 (hex) of the claims; empty where the request has none."""
    text = claims_text(content)
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def is_signed(content: RecordDict, public_hex: str) -> bool:
    """Returns whether the claims carry the signature of that key."""
    text = claims_text(content)
    return bool(text) and signature_holds(public_hex, text.encode(), str(_body(content).get(SIGNATURE, "")))


def differing(content: RecordDict, request: Request, site: str) -> list[str]:
    """Returns the names of the claims that are not of this request to this site, sorted; of a signed content none."""
    said = parse_object(claims_text(content))
    number, expires = (value if type(value := said.get(name)) is int else 0 for name in ("number", "expires"))
    true = asdict(Claims.of(request, site=site, number=number, expires=expires))
    return sorted(name for name in {*said, *true} if said.get(name) != true.get(name))


def number_and_expiry(content: RecordDict) -> tuple[int, int]:
    """Returns both whole numbers of claims that :func:`differing` found right."""
    said = parse_object(claims_text(content))
    return int(said["number"]), int(said["expires"])


def bind(answer: RecordDict, digest: str) -> RecordDict:
    """Returns the answer, which then names the claims that it answers; unchanged where the request had none."""
    if digest:
        answer[BODY] = ConfigRecord({**_body(answer), ANSWERS: digest})
    return answer


def answered(answer: RecordDict) -> str:
    """Returns the digest of the claims that the answer names; empty where it names none."""
    return str(_body(answer).get(ANSWERS, ""))


def sum_of(request: Request) -> str:
    """Returns the digest of the secure sum that a request is for; every site of it finds the same."""
    return sum_digest(
        study=request.study.digest(), run=request.run, round_index=request.round_index, attempt=request.attempt,
        roster=request.roster, weights=weights_digest(request.arrays),
    )  # fmt: skip


def weights_digest(arrays: Arrays) -> str:
    """Returns SHA-256 (hex) of names, shapes and little-endian float32 values, whatever their order."""
    found = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        found.update(json.dumps([name, values.shape]).encode())
        found.update(np.ascontiguousarray(values, "<f4").data)
    return found.hexdigest()


def _body(content: RecordDict) -> ConfigRecord:
    record = content.get(BODY)
    return record if isinstance(record, ConfigRecord) else ConfigRecord()
