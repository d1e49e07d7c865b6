"""The public key with which a hub signs its requests, as kits carry it and sites pin it."""

from __future__ import annotations

from common.errors import TrustError
from common.trust.pki import key_fingerprint

_DIGITS = 64


def checked_hub_key(key: str) -> str:
    """Returns the key in its normal form, 64 hex digits.

    Raises:
        TrustError: It is none.
    """
    text = key.strip().lower()
    if len(text) != _DIGITS or set(text) - set("0123456789abcdef"):
        raise TrustError(f"Expected the hub's key, {_DIGITS} hex digits as oncofed-hub key prints it")
    return text


def hub_fingerprint(key: str) -> str:
    """Returns what both sides compare by telephone.

    Raises:
        TrustError: ``key`` is no public key of a hub.
    """
    return key_fingerprint(f"{checked_hub_key(key)} hub")
