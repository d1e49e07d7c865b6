"""Two people agree: what is to be done is written down once, and each signs that very text with a key of their own."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import TrustError
from common.trust.journal import canonical
from common.trust.signing import SiteKey, signature_holds

NEEDED = 2
_DOMAIN = b"oncofed agreement\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """One person's signature, hex."""

    name: str
    signature: str


def identity(body: Mapping[str, Any]) -> str:
    """Returns the SHA-256 (hex) of what is to be done, by which it is called."""
    return hashlib.sha256(canonical(body).encode()).hexdigest()


def agree(body: Mapping[str, Any], name: str, key: SiteKey, people: Mapping[str, str]) -> Signature:
    """Returns the person's signature.

    Args:
        body: What is to be done, as JSON values.
        name: Of the person.
        key: Theirs.
        people: Public key (hex) of each person who may sign, by name.

    Raises:
        TrustError: The site does not know the person, or by another key.
    """
    if people.get(name) != key.public_hex:
        raise TrustError(
            f"{name} is not in people.yaml with the key {key.public_hex[:16]}...; add the person's own key"
        )
    return Signature(name, key.sign(_message(body)))


def agreed(body: Mapping[str, Any], signatures: Sequence[Signature], people: Mapping[str, str]) -> tuple[str, ...]:
    """Returns who signed, sorted; they are two different people with two different keys at least.

    Raises:
        TrustError: They are fewer; says who counts.
    """
    held = {
        people[one.name]: one.name
        for one in signatures
        if one.name in people and signature_holds(people[one.name], _message(body), one.signature)
    }
    if len(held) < NEEDED:
        who = ", ".join(sorted(held.values())) or "nobody"
        raise TrustError(f"This needs the signatures of {NEEDED} people of people.yaml, and {who} has signed")
    return tuple(sorted(held.values()))


def _message(body: Mapping[str, Any]) -> bytes:
    return _DOMAIN + canonical(body).encode()
