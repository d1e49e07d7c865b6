"""The consortium's own certificate authority, the hub's certificate, and the keys that sites make for themselves.

One small authority for one hub: it signs the certificate that sites check when they dial, nothing else. A site's
key never travels; its public half goes to the hub in the request (:mod:`common.trust.kit`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import ConfigError, TrustError
from common.trust.durable import sync_folder, write_durably

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
"""What browsers and hospital proxies accept of a server certificate; ``oncofed-hub rotate`` renews it."""
_BACKDATED = timedelta(hours=1)
"""A site whose clock is a little slow must not find the certificate unborn."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a person checks of a certificate.

    Attributes:
        names: DNS names and addresses it speaks for.
        not_after: End of its validity (UTC).
        fingerprint: SHA-256 of the certificate, hex.
    """

    names: tuple[str, ...]
    not_after: datetime
    fingerprint: str

    def days_left(self, now: datetime | None = None) -> float:
        """Returns days until it expires; negative once it has."""
        return (self.not_after - (now or datetime.now(UTC))) / timedelta(days=1)


def create_authority(key: Path, certificate: Path, name: str) -> None:
    """Makes a self-signed authority that can sign server certificates only one step below itself."""
    private = ec.generate_private_key(ec.SECP384R1())
    subject = common_name(f"{name} OncoFed authority")
    built = (
        certificate_builder(subject, subject, private.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(private, hashes.SHA384())
    )
    write_private(key, pkcs8(private))
    write_durably(certificate, certificate_text(built))


def issue_server(
    authority_key: Path, authority: Path, names: Sequence[str], *, key: Path, certificate: Path, days: int = SERVER_DAYS
) -> None:
    """Makes a new key and a certificate for a server that is dialled by any of ``names``.

    Raises:
        ConfigError: There is no name.
        TrustError: The authority's files cannot be read.
    """
    if not names:
        raise ConfigError("A server certificate needs at least one name that sites dial; give one with --name")
    issuer = read_certificate(authority)
    issuer_key = _load_ec(authority_key)
    private = ec.generate_private_key(ec.SECP384R1())
    built = (
        certificate_builder(common_name(names[0]), issuer.subject, private.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(end_entity_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA384())
    )
    write_private(key, pkcs8(private))
    write_durably(certificate, certificate_text(built))


def create_node_key(path: Path, comment: str) -> str:
    """Makes the EC P-384 key with which a site proves itself to the hub, in OpenSSH's form, mode 0600.

    Returns:
        The public half as one OpenSSH line. An existing key is kept.
    """
    if not path.exists():
        private = ec.generate_private_key(ec.SECP384R1())
        openssh = serialization.PrivateFormat.OpenSSH
        write_private(path, private.private_bytes(serialization.Encoding.PEM, openssh, serialization.NoEncryption()))
    return public_line(path, comment)


def public_line(path: Path, comment: str) -> str:
    """Returns the public half of a node key as one OpenSSH line.

    Raises:
        TrustError: The file is missing, readable by others, or holds no EC key.
    """
    return f"{openssh_line(_load_ssh(path).public_key())} {comment}"


def openssh_line(public: ec.EllipticCurvePublicKey) -> str:
    """Returns the one text of a public key, as OpenSSH writes it, without a comment."""
    return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode("ascii")


def checked_public_line(line: str) -> str:
    """Returns the key of an OpenSSH line in one normal form, without its comment, when it is an EC P-384 key.

    Raises:
        TrustError: It is anything else.
    """
    key = " ".join(line.split()[:2])
    try:
        loaded = serialization.load_ssh_public_key(key.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise TrustError("The request holds no readable public key; ask the site to run join again") from None
    if not isinstance(loaded, ec.EllipticCurvePublicKey) or not isinstance(loaded.curve, ec.SECP384R1):
        raise TrustError("The request's key is not an EC P-384 key; ask the site to run join again")
    return openssh_line(loaded)


def key_fingerprint(line: str) -> str:
    """Returns 16 hex digits in groups of four, short enough to compare by telephone (64 bits of SHA-256)."""
    digest = hashlib.sha256(" ".join(line.split()[:2]).encode()).hexdigest()[:16]
    return "-".join(digest[start : start + 4] for start in range(0, 16, 4))


def certificate_facts(path: Path) -> CertificateFacts:
    """Returns what a certificate says.

    Raises:
        TrustError: It cannot be read.
    """
    certificate = read_certificate(path)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(str(name.value) for name in found)
    except x509.ExtensionNotFound:
        names = ()
    return CertificateFacts(names, certificate.not_valid_after_utc, certificate.fingerprint(hashes.SHA256()).hex())


def read_certificate(path: Path) -> x509.Certificate:
    """Returns the certificate in a PEM file.

    Raises:
        TrustError: It is missing or damaged.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise TrustError(f"There is no readable certificate at {path}; restore it from the backup") from None


def is_pair(key: Path, certificate: Path) -> bool:
    """Tells whether both files can be read and the certificate is the key's."""
    try:
        return read_certificate(certificate).public_key() == _load_ec(key).public_key()
    except TrustError:
        return False


def certificate_text(certificate: x509.Certificate) -> str:
    """Returns the one PEM of a certificate."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def write_private(path: Path, content: bytes) -> None:
    """Writes a secret that only this user can read, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def _load_ssh(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        if path.stat().st_mode & 0o077:
            raise TrustError(f"The key {path} can be read by other users; run: chmod 600 {path}")
        private = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError):
        raise TrustError(f"There is no readable key at {path}; run oncofed-site join again with a new kit") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TrustError(f"{path} holds a {type(private).__name__}, expected an EC key")
    return private


def _load_ec(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError):
        raise TrustError(f"There is no readable private key at {path}; restore it from the backup") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TrustError(f"{path} holds a {type(private).__name__}, expected an EC key")
    return private


def certificate_builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    """Returns a certificate begun: names, key, serial number, valid from an hour ago for so many days."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def end_entity_usage() -> x509.KeyUsage:
    """Returns the usage of a key that proves its owner in a handshake."""
    return _key_usage(signs_certificates=False)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def common_name(text: str) -> x509.Name:
    """Returns the name, cut to the 64 characters that X.509 allows."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def pkcs8(private: ec.EllipticCurvePrivateKey) -> bytes:
    """Returns the private key as PEM, without a password."""
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
