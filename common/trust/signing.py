"""Ed25519 keys that are made where they are used and never travel."""

from __future__ import annotations

import hmac
import os
import threading
from pathlib import Path

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from common.errors import TrustError
from common.trust.durable import sync_folder


class SiteKey:
    """A private key that signs, and derives keyed fingerprints from which nothing can be read back."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        secret = private.private_bytes_raw()
        self._fingerprint_key = hmac.digest(secret, b"oncofed patient fingerprint", "sha256")

    @classmethod
    def from_pem(cls, text: str) -> SiteKey:
        """Returns the key in a PEM text.

        Raises:
            TrustError: It holds no Ed25519 key.
        """
        try:
            private = serialization.load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise TrustError("Expected an Ed25519 private key as PEM")
        return cls(private)

    @classmethod
    def open(cls, path: Path) -> SiteKey:
        """Returns the key in ``path``, made on first use with mode 0600.

        Raises:
            TrustError: The file is readable by others, or holds no Ed25519 key.
        """
        if not path.exists():
            _create(path)
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> SiteKey:
        """Returns the key in ``path``, which must be there: a fresh one would sign for nobody that others know.

        Raises:
            TrustError: The file is missing or readable by others, or holds no Ed25519 key.
        """
        if not path.exists():
            raise TrustError(f"There is no key at {path}; restore it from the backup, or join again with --new-keys")
        if path.stat().st_mode & 0o077:
            raise TrustError(f"The key {path} can be read by other users; run: chmod 600 {path}")
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):  # what a damaged file can end in
            raise TrustError(f"{path} holds no readable private key; restore it from the backup") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise TrustError(f"{path} holds a {type(private).__name__}, expected an Ed25519 key")
        return cls(private)

    @property
    def public_hex(self) -> str:
        """The public key, 64 hex digits."""
        return self._private.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> str:
        """Returns the signature, hex."""
        return self._private.sign(message).hex()

    def fingerprint(self, identifier: str) -> str:
        """Returns HMAC-SHA256 (hex) of an identifier under a key derived from the private one."""
        return hmac.digest(self._fingerprint_key, identifier.encode(), "sha256").hex()


def signature_holds(public_hex: str, message: bytes, signature_hex: str) -> bool:
    """Returns whether ``signature_hex`` is the signature of ``message`` under the public key."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_hex))
        key.verify(bytes.fromhex(signature_hex), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _create(path: Path) -> None:
    """Two processes may come here at once: the first link wins and both read the same key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()
    sync_folder(path.parent)
