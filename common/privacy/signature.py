"""Who stands behind a privacy statement: the key that signs the site's ledger signs its statements too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common.canonical import canonical
from common.errors import TrustError
from common.trust.signing import signature_holds

FIELD = "signature"


def signed(statement: Mapping[str, Any], sign: Callable[[bytes], str]) -> dict[str, Any]:
    """Returns the statement with the Ed25519 signature (hex) of its canonical JSON in ``signature``."""
    return {**statement, FIELD: sign(_message(statement))}


def check_signature(statement: Mapping[str, Any], public_hex: str | None = None) -> str:
    """Returns the public key (hex) under which the statement was signed.

    Args:
        statement: As read from the file.
        public_hex: The key that the site is known by; None: the one that the statement names, which shows that
            nothing was changed since, but not who wrote it.

    Raises:
        TrustError: There is no signature, it is of another key, or the statement was changed after it was signed.
    """
    key, site = statement.get("ledger_key"), statement.get("site")
    if not isinstance(key, str) or not isinstance(statement.get(FIELD), str):
        raise TrustError(f"The statement of {site} is not signed; ask the site for: oncofed-site privacy report")
    if public_hex is not None and key != public_hex.strip().lower():
        raise TrustError(f"The statement of {site} names the key {key}, expected {public_hex}: it is not this site's")
    if not signature_holds(key, _message(statement), statement[FIELD]):
        raise TrustError(f"The statement of {site} was changed after the site had signed it")
    return key


def _message(statement: Mapping[str, Any]) -> bytes:
    body = {key: value for key, value in statement.items() if key != FIELD}
    try:
        return b"oncofed privacy statement\n" + canonical(body).encode()
    except (TypeError, ValueError) as error:
        raise TrustError(f"The statement of {statement.get('site')} cannot be read ({error})") from None
