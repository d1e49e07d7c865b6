"""Signatures on a package: one file a signer below ``signatures/``, over the digest that names all of its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from common.errors import TrustError
from common.names import plain_slug
from common.trust.durable import write_durably
from common.trust.signing import SiteKey, signature_holds

FOLDER = "signatures"
MOST, MOST_BYTES = 100, 10_000
_DOMAIN = b"oncofed model package\n"


def sign_package(folder: Path, digest: str, name: str, key: SiteKey) -> Path:
    """Writes ``signatures/NAME.json`` and returns its path.

    Raises:
        TrustError: The name holds no letter.
    """
    if not (plain := plain_slug(name)):
        raise TrustError(f"{name!r} is no name that a file can have; use letters and digits")
    document = {"name": name, "digest": digest, "key": key.public_hex, "signature": key.sign(_message(digest))}
    (folder / FOLDER).mkdir(exist_ok=True)
    path = folder / FOLDER / f"{plain}.json"
    write_durably(path, json.dumps(document, indent=2) + "\n")
    return path


def check_signatures(folder: Path, digest: str, keys: Mapping[str, str]) -> None:
    """Checks that each of the pinned keys has signed the package. Nothing that the folder says of keys is believed.

    Args:
        folder: Of the package.
        digest: Its digest.
        keys: Ed25519 key (hex) by whose it is.

    Raises:
        TrustError: One has not; says whose.
    """
    signatures = _signatures(folder)
    for name, key in keys.items():
        if not any(signature_holds(key, _message(digest), signature) for signature in signatures):
            raise TrustError(
                f"The package {digest[:16]} is not signed with the key of {name} ({key[:16]}); ask who released it for "
                "a signed one, and compare the digest with theirs"
            )


def signature_files(folder: Path) -> list[Path]:
    """Returns the files below ``signatures/`` that can be signatures: small, and no links; a hundred at most."""
    place = folder / FOLDER
    found = [] if place.is_symlink() else sorted(place.glob("*.json"))
    return [path for path in found[:MOST] if _is_small_file(path)]


def _is_small_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size < MOST_BYTES


def _message(digest: str) -> bytes:
    return _DOMAIN + digest.encode()


def _signatures(folder: Path) -> list[str]:
    found = []
    for path in signature_files(folder):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue  # a damaged signature is none
        if isinstance(document, dict):
            found.append(str(document.get("signature")))
    return found
