"""Certificates with which sites and the operator prove themselves to the proxy before it looks at a request.

Each is signed by its own key: the hub trusts exactly those that it was handed, one by one, so nothing is issued, no
certificate travels back, and to forget one is to revoke it.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from common.errors import TrustError
from common.trust.durable import write_durably
from common.trust.pki import (
    certificate_builder,
    certificate_text,
    common_name,
    end_entity_usage,
    is_pair,
    openssh_line,
    pkcs8,
    write_private,
)

CLIENT_DAYS = 1096
_SLACK = timedelta(days=2)


def create_client_certificate(key: Path, certificate: Path, name: str, *, days: int = CLIENT_DAYS) -> str:
    """Makes an EC P-384 key (mode 0600) and a certificate for it that can prove a client, nothing else.

    Returns:
        The certificate, PEM. A key with its own certificate is kept.
    """
    if not is_pair(key, certificate):
        private = ec.generate_private_key(ec.SECP384R1())
        subject = common_name(name)
        built = (
            certificate_builder(subject, subject, private.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(end_entity_usage(), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(private, hashes.SHA384())
        )
        write_private(key, pkcs8(private))
        write_durably(certificate, certificate_text(built))
    return certificate.read_text(encoding="ascii")


def checked_client_certificate(pem: str, name: str, now: datetime | None = None) -> str:
    """Returns the certificate in one normal form, PEM.

    Raises:
        TrustError: It is not a client certificate of the kind that :func:`create_client_certificate` makes for
            ``name``: a P-384 key, signed by itself, no authority, valid now, and not for longer than agreed.
    """
    try:
        found = x509.load_pem_x509_certificate(pem.encode())
        problem = _problem(found, name, now or datetime.now(UTC))
    except (ValueError, UnsupportedAlgorithm, InvalidSignature, TypeError, x509.ExtensionNotFound):
        problem = "is not readable or not complete"
    if problem:
        raise TrustError(f"The request's certificate {problem}; ask the site: oncofed-site join KIT --new-keys")
    return certificate_text(found)


def certificate_key(pem: str) -> str:
    """Returns the public key of a checked certificate, in the form that :func:`common.trust.pki.openssh_line` gives.

    Two certificates of one key are one way in.
    """
    public = x509.load_pem_x509_certificate(pem.encode()).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    return openssh_line(public)


def proxy_fingerprint(pem: str) -> str:
    """Returns the SHA-1 of the certificate, hex, which is the name that nginx has for it.

    It only tells apart certificates that the TLS handshake has verified already against the very list it names.
    """
    found = x509.load_pem_x509_certificate(pem.encode())
    return hashlib.sha1(found.public_bytes(serialization.Encoding.DER), usedforsecurity=False).hexdigest()


def days_left(pem: str, now: datetime | None = None) -> float:
    """Returns days until the certificate expires; negative once it has."""
    found = x509.load_pem_x509_certificate(pem.encode())
    return (found.not_valid_after_utc - (now or datetime.now(UTC))) / timedelta(days=1)


def _problem(found: x509.Certificate, name: str, now: datetime) -> str:
    public = found.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP384R1):
        return "has no EC P-384 key"
    # OpenSSL looks for a trusted certificate by its subject: two of one subject would lock each other out.
    if not found.subject == found.issuer == common_name(name):
        return f"does not bear the name {name} alone"
    found.verify_directly_issued_by(found)
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        return "is an authority's"
    if list(usage) != [ExtendedKeyUsageOID.CLIENT_AUTH]:
        return "is not for a client only"
    if not found.not_valid_before_utc <= now < found.not_valid_after_utc:
        return "is not valid now; a clock is wrong, or it is old"
    if found.not_valid_after_utc - now > timedelta(days=CLIENT_DAYS) + _SLACK:
        return f"is valid for more than {CLIENT_DAYS} days"
    return ""
