"""Chains of signed entries, and the head kept apart that makes a restored older copy visible.

Pure rules: where entries are stored is the caller's business. An entry's digest covers its number, its text and the
digest before it, so no entry can be edited, dropped, swapped or inserted without breaking the chain from there on;
its signature keeps anybody without the key from mending the chain afterwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.canonical import canonical as canonical
from common.errors import TrustError
from common.trust.durable import write_durably
from common.trust.signing import SiteKey, signature_holds

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Head:
    """Number and digest of a journal's last entry; of an empty one 0 and zeros."""

    seq: int = 0
    digest: str = GENESIS


@dataclass(frozen=True, slots=True)
class Entry:
    """One link of the chain; ``text`` is canonical JSON."""

    seq: int
    text: str
    previous: str
    digest: str
    signature: str

    @property
    def head(self) -> Head:
        """The head of a journal that ends here."""
        return Head(self.seq, self.digest)


def next_entry(head: Head, body: Mapping[str, Any], key: SiteKey) -> Entry:
    """Returns the signed entry that follows ``head``."""
    seq, text = head.seq + 1, canonical(body)
    digest = digest_of(seq, text, head.digest)
    return Entry(seq, text, head.digest, digest, key.sign(bytes.fromhex(digest)))


def digest_of(seq: int, text: str, previous: str) -> str:
    """Returns SHA-256 (hex) over the entry's number, the digest before it and its text."""
    return hashlib.sha256(f"{seq}\n{previous}\n{text}".encode()).hexdigest()


def first_bad(entries: Sequence[Entry], public_hex: str, believed: Head | None = None) -> int | None:
    """Returns the place (from 1) of the first entry that cannot be believed, None when all can.

    Args:
        entries: All entries from the first on, in order.
        public_hex: The Ed25519 key under which they are signed.
        believed: A head whose entries had good signatures before; while the chain still leads to it, they are the
            same entries and only newer signatures are checked.
    """
    skip = believed.seq if believed and entries[believed.seq - 1 : believed.seq] and _leads_to(entries, believed) else 0
    previous = GENESIS
    for place, entry in enumerate(entries, start=1):
        if not _follows(entry, place, previous):
            return place
        if place > skip and not signature_holds(public_hex, bytes.fromhex(entry.digest), entry.signature):
            return place
        previous = entry.digest
    return None


def _leads_to(entries: Sequence[Entry], head: Head) -> bool:
    return entries[head.seq - 1].head == head


def _follows(entry: Entry, place: int, previous: str) -> bool:
    texts = (entry.text, entry.previous, entry.digest, entry.signature)
    if not all(isinstance(text, str) for text in texts):  # whoever edits the file can put any type there
        return False
    return entry.seq == place and entry.previous == previous and entry.digest == digest_of(place, entry.text, previous)


def read_head(path: Path) -> Head | None:
    """Returns the head in the side file, None when there is no such file.

    Raises:
        TrustError: The file holds no head.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Head(int(document["seq"]), str(document["digest"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise TrustError(f"{path} is damaged; have the program that writes its journal restore both") from None


def write_head(path: Path, head: Head) -> None:
    """Puts the head into the side file, durably."""
    write_durably(path, json.dumps(asdict(head)))
