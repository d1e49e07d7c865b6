"""A secure sum: the hub adds what sites send and learns the sum alone.

Each two sites of a roster agree on a key nobody else has (X25519, RFC 7748) and stretch it into a mask that one adds
and the other takes off, modulo 2^64 (Bonawitz et al. 2017, section 4.0.1, without recovery: all of the roster must
send, or nothing can be read). A mask belongs to one request: run, round, attempt, roster, weights.

Who is in a roster is told by the hub and believed by nobody: every public key carries the signature of its site's
long-term key, which each site compares with a register that the hospitals agreed on beforehand.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from cryptography.exceptions import InternalError
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from common.canonical import canonical, document_digest
from common.errors import TrustError
from common.privacy.stream import SecretStream
from common.trust.signing import SiteKey, signature_holds

KIND = "oncofed-sum-key/1"
KEY_BYTES = 32
_PAIR, _MASK = b"oncofed secure sum: pair 1", b"oncofed secure sum: mask 1"
"""Salts of the two derivations."""
_KEY = re.compile(r"[0-9a-f]{62}[0-7][0-9a-f]")
"""X25519 ignores the top bit (RFC 7748, section 5): a key with it is another spelling of one without."""
Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """How a site joins the secure sums of one run.

    Attributes:
        site: Its name.
        patients: Declared training patients, public by agreement.
        key: X25519 public key of this run, 64 lower-case hex digits, the top bit 0.
        signature: Ed25519, hex, of the site's long-term key over :meth:`text`.
    """

    site: str
    patients: int
    key: str
    signature: str = ""

    def text(self, run: str, study: str) -> bytes:
        """Returns what is signed; ``study`` is the study's digest."""
        said = {"site": self.site, "patients": self.patients, "key": self.key}
        return canonical({"kind": KIND, "run": run, "study": study, **said}).encode()

    def signed(self, run: str, study: str, key: SiteKey) -> Announcement:
        """Returns the announcement with the signature of a long-term key."""
        return replace(self, signature=key.sign(self.text(run, study)))

    def is_of(self, public_hex: str, run: str, study: str) -> bool:
        """Returns whether the long-term key with this public half signed it for that run and study."""
        return bool(_KEY.fullmatch(self.key)) and signature_holds(public_hex, self.text(run, study), self.signature)


def summed_run(run: str, *, rehearsal: bool) -> str:
    """Returns the run that a key is announced for; no run of hospitals is named as its rehearsal is.

    Else a hub could sum one hospital's update with parts of others that are of nobody.
    """
    return f"rehearsal of {run}" if rehearsal else run


Roster = tuple[Announcement, ...]


def check_roster(roster: Roster, *, run: str, study: str, register: Mapping[str, str], own: Announcement) -> None:
    """Checks a roster against the site's own register; nothing in it is believed because the hub sent it.

    Args:
        roster: As it came.
        run: Identifier of the run.
        study: Digest of the study.
        register: Long-term public key (hex) of each hospital, agreed on beforehand, by name.
        own: What this site announced.

    Raises:
        TrustError: It is not sorted, names a site or a key twice, holds an announcement that its site's long-term key
            did not sign for this run and study, or another one of this site than its own.
    """
    names = [one.site for one in roster]
    if any(first >= second for first, second in pairwise(names)):
        raise TrustError("The roster of a secure sum is not in the order of the sites' names, each once")
    if [one for one in roster if one.site == own.site] != [own]:
        raise TrustError("The roster of a secure sum does not hold this site's own announcement, unchanged")
    unknown = [name for name in names if name not in register]
    if unknown:
        raise TrustError(f"The roster names {', '.join(unknown)}, not in this site's register of hospitals")
    _require_distinct([one.key for one in roster], "key of a run")
    _require_distinct([register[name] for name in names], "long-term key")
    forged = [one.site for one in roster if not one.is_of(register[one.site], run, study)]
    if forged:
        raise TrustError(f"The long-term keys of {', '.join(forged)} did not sign what the roster says of them")


def _require_distinct(keys: Sequence[str], what: str) -> None:
    if len({key.lower() for key in keys}) < len(keys):
        raise TrustError(f"Two sites of the roster have the same {what}: they may be one")


def roster_digest(roster: Roster) -> str:
    """Returns SHA-256 (hex) of a roster; empty for none."""
    return _sha({"roster": [asdict(one) for one in roster]}) if roster else ""


def sum_digest(*, study: str, run: str, round_index: int, attempt: int, roster: Roster, weights: str) -> str:
    """Returns SHA-256 (hex) of all that makes one secure sum this one; every site of it finds the same."""
    said = {
        "study": study, "run": run, "round": round_index, "attempt": attempt,
        "roster": roster_digest(roster), "weights": weights,
    }  # fmt: skip
    return _sha(said)


@dataclass(frozen=True, slots=True)
class RunKey:
    """A site's private key of one run."""

    _private: X25519PrivateKey = field(repr=False)

    @classmethod
    def fresh(cls) -> RunKey:
        """Returns a key that the operating system drew."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def from_hex(cls, secret: str) -> RunKey:
        """Returns the key that :meth:`secret` gave."""
        return cls(X25519PrivateKey.from_private_bytes(bytes.fromhex(secret)))

    @property
    def secret(self) -> str:
        """The private half, 64 hex digits."""
        return self._private.private_bytes_raw().hex()

    @property
    def public_hex(self) -> str:
        """The public half, 64 hex digits."""
        return self._private.public_key().public_bytes_raw().hex()

    def pair_key(self, own: Announcement, other: Announcement, run: str) -> bytes:
        """Returns the key that two sites of a run share, 32 bytes, the same at both.

        Raises:
            TrustError: The other's key is this site's own, or makes the shared secret zero (RFC 7748, section 6.1).
        """
        if hmac.compare_digest(other.key, self.public_hex):
            raise TrustError(f"{other.site} announces this site's own key of the run")
        first, second = sorted((own, other), key=lambda one: one.site)
        info = canonical({"run": run, "sites": [first.site, second.site], "keys": [first.key, second.key]})
        try:
            return _derived(self.shared(other.key), _PAIR, info.encode())
        except TrustError:
            raise TrustError(f"{other.site} announces a key that shares no secret with anybody") from None

    def shared(self, public_hex: str) -> bytes:
        """Returns the secret shared with the owner of a public key, 32 bytes.

        Raises:
            TrustError: It is no key, or one that makes the secret zero.
        """
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(public_hex)))
        except (ValueError, InternalError):  # a point of low order, or no key at all
            shared = bytes(KEY_BYTES)
        if hmac.compare_digest(shared, bytes(KEY_BYTES)):
            raise TrustError("The key shares no secret with anybody")
        return shared


def shares_secrets(public_hex: str) -> bool:
    """Returns whether others can agree on a secret with the private half of this key: it is a key, of no low order."""
    try:
        RunKey.fresh().shared(public_hex)
    except TrustError:
        return False
    return True


def masked(values: NDArray[np.int64], own: Announcement, roster: Roster, key: RunKey, run: str, request: str) -> Words:
    """Returns what a site sends, uint64 (D,): ``values`` plus the masks it shares, modulo 2^64.

    Args:
        values: The site's part of the sum, int64 (D,).
        own: Its announcement.
        roster: All of them, checked with :func:`check_roster`.
        key: Its key of the run.
        run: Identifier of the run.
        request: Digest of the sum (:func:`sum_digest`), for which a site masks once only.

    Raises:
        TrustError: A key of the roster shares no secret.
    """
    total = values.view(np.uint64).copy()
    for other in roster:
        if other.site == own.site:
            continue
        pair = key.pair_key(own, other, run)
        mask = SecretStream(_derived(pair, _MASK, request.encode())).words(len(total)).view(np.uint64)
        if own.site < other.site:
            total += mask
        else:
            total -= mask
    return total


def unmasked_sum(parts: Sequence[Words]) -> NDArray[np.int64]:
    """Returns the sum of all sites' values, int64 (D,), from what all of a roster sent.

    It is right where the true sum fits int64; with a part missing it is random.

    Raises:
        ValueError: A part has another length or type, or there is none.
    """
    if not parts or any(part.dtype != np.uint64 or part.shape != (parts[0].size,) for part in parts):
        raise ValueError("Expected flat uint64 parts of one length")
    total = parts[0].copy()
    for part in parts[1:]:
        total += part
    return total.view(np.int64)


def _sha(body: Mapping[str, Any]) -> str:
    return document_digest(body)


def _derived(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF with SHA-256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)
