"""Whether a request comes from this site's hub, is meant for this site, and is not an old one.

A request of a run has a larger number than those before it. The site keeps the largest, durably, so an old request is
refused whatever the clocks say. The same message once more is no replay: Flower delivers it again after a crash, and
its answer is the same.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from flwr.app import RecordDict

from common.errors import TrustError, UnprovenRequest
from common.protocol.messages import Request
from common.protocol.signed_request import claims_digest, differing, is_signed, number_and_expiry
from common.trust.durable import exclusive, write_durably
from common.trust.hub_key import checked_hub_key, hub_fingerprint

FOLDER = "asked"
SKEW_SECONDS = 3600
"""How far the clocks of hub and hospital may differ before an answer comes too late; Flower itself allows 150 s."""


def check_proof(home: Path, site: str, hub_key: str, request: Request, content: RecordDict) -> None:
    """Refuses what the hub did not sign for this site and this moment; notes the request's number, durably.

    Args:
        home: The site's folder.
        site: Its name.
        hub_key: Ed25519 public key of the hub, hex.
        request: What came, unpacked.
        content: As it came.

    Raises:
        UnprovenRequest: The signature, the target, a claim, the time or the number is not right.
    """
    if not is_signed(content, hub_key):
        raise UnprovenRequest(
            "A request came that does not carry the signature of this site's hub. If the hub has a new key, compare "
            "its fingerprint by telephone, then: oncofed-site trust-hub KEY"
        )
    if wrong := differing(content, request, site):
        raise UnprovenRequest(f"The hub signed a request with another {', '.join(wrong)}; it is not for this site")
    number, expires = number_and_expiry(content)
    if time.time() > expires + SKEW_SECONDS:
        raise UnprovenRequest("The request came after its time was over; see that the clock here is right")
    _note_number(home / FOLDER, request.run, number, claims_digest(content))


def _note_number(folder: Path, run: str, number: int, digest: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(run.encode()).hexdigest()}.number.json"
    with exclusive(folder / "lock"):
        last, seen = _last(path)
        if number < last or (number == last and digest != seen):
            raise UnprovenRequest(f"Request {number} of the run came after request {last}; an old one is not answered")
        if number > last:
            write_durably(path, json.dumps({"number": number, "claims": digest}))


def _last(path: Path) -> tuple[int, str]:
    if not path.exists():
        return 0, ""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return int(found["number"]), str(found["claims"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UnprovenRequest(
            f"{path} is damaged: what was asked before is not known. End the run, then delete it"
        ) from None


def pin_hub(path: Path, key: str) -> str:
    """Writes the hub's public key to ``path``, from where requests are checked; returns its fingerprint.

    Raises:
        TrustError: It is no Ed25519 public key in hex.
    """
    checked = checked_hub_key(key)
    write_durably(path, checked + "\n")
    return hub_fingerprint(checked)


def pinned_hub(path: Path) -> str:
    """Returns the hub's public key, hex.

    Raises:
        TrustError: None is pinned, or the file is damaged; the site stays closed.
    """
    try:
        return checked_hub_key(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        raise TrustError(
            "This site does not know its hub's key, so it answers nobody. Ask the hub's operator for it (oncofed-hub "
            "key), compare the fingerprint by telephone, then: oncofed-site trust-hub KEY"
        ) from None
    except (OSError, UnicodeDecodeError):
        raise TrustError(f"{path} cannot be read; pin the hub's key anew: oncofed-site trust-hub KEY") from None
