"""Which release runs here, and what it must have in common with its peers."""

from __future__ import annotations

from typing import Any


def version_facts() -> dict[str, Any]:
    """Returns ``version``, ``protocol``, and the digests ``mathematics`` and ``code`` (SHA-256, hex).

    Hub and sites take part in one run if protocol and mathematics are equal; the code may differ.
    """
    from common.provenance import PROTOCOL_VERSION, code_digest, mathematics_digest, release

    return {
        "version": release(),
        "protocol": PROTOCOL_VERSION,
        "mathematics": mathematics_digest(),
        "code": code_digest(),
    }


def version_line() -> str:
    """Returns the facts in one line, digests cut to 16 digits."""
    facts = version_facts()
    return (
        f"oncofed {facts['version']}, protocol {facts['protocol']}, mathematics {facts['mathematics'][:16]}, "
        f"code {facts['code'][:16]}"
    )
