"""Requests as sites send them, true and forged: signed, written to a file and read as the hub reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.trust.client_certificate import create_client_certificate
from common.trust.kit import JoinRequest, read_request, write_request
from common.trust.pki import create_node_key
from common.trust.signing import SiteKey
from server.hub.registry import Registry


def asked(registry: Registry, name: str, keys: Path, **changed: str | int) -> JoinRequest:
    """Returns the request of an invited site with the keys in the folder ``keys``, made on first use.

    ``changed`` is what the site writes otherwise, before it signs.
    """
    keys.mkdir(exist_ok=True)
    key = SiteKey.open(keys / "site.ed25519")
    plain = JoinRequest(
        site=name,
        invitation=registry.sites()[name].invitation,
        node_key=" ".join(create_node_key(keys / "node", name).split()[:2]),
        signing_key=key.public_hex,
        certificate=create_client_certificate(keys / "tls.key", keys / "tls.crt", name),
    )
    other = replace(plain, **changed)  # type: ignore[arg-type]
    write_request(keys / "request.json", replace(other, signature=key.sign(other.text())))
    return read_request(keys / "request.json")
