"""The signature under a readiness certificate: a site's word about its own data, which nobody can change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.canonical import canonical
from common.errors import TrustError
from common.trust.signing import SiteKey, signature_holds

_DOMAIN = b"oncofed readiness certificate\n"


def signed_certificate(body: Mapping[str, Any], key: SiteKey) -> dict[str, Any]:
    """Returns the certificate with the public key in ``key`` and its Ed25519 signature (hex) in ``signature``."""
    named = {**body, "key": key.public_hex}
    return named | {"signature": key.sign(_DOMAIN + canonical(named).encode())}


def check_certificate(document: Mapping[str, Any], public_hex: str | None = None) -> None:
    """Checks who made a certificate, and that nothing in it was changed since.

    Args:
        document: As read from its file.
        public_hex: The key that the site is known by; None: the one that the certificate names, which shows only that
            nothing was changed.

    Raises:
        TrustError: It is not signed, was changed, or is another site's.
    """
    key, signature = document.get("key"), document.get("signature")
    if not isinstance(key, str) or not isinstance(signature, str):
        raise TrustError("The certificate is not signed; make it with: oncofed-site data certify")
    if public_hex is not None and key != public_hex.strip().lower():
        raise TrustError(f"The certificate names the key {key}, expected {public_hex}: it is not this site's")
    body = {name: value for name, value in document.items() if name != "signature"}
    if not signature_holds(key, _DOMAIN + canonical(body).encode(), signature):
        raise TrustError("The certificate was changed after the site had signed it")
