"""A client certificate of exactly the agreed kind opens the proxy; whatever else a site sends is refused by name."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import TrustError
from common.trust.client_certificate import (
    CLIENT_DAYS,
    checked_client_certificate,
    create_client_certificate,
    days_left,
    proxy_fingerprint,
)
from common.trust.pki import create_authority, is_pair, issue_server

NOW = datetime.now(UTC)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@pytest.fixture
def pem(tmp_path: Path) -> str:
    return create_client_certificate(tmp_path / "tls.key", tmp_path / "tls.crt", "north")


def test_what_a_site_makes_is_what_a_hub_takes_and_its_key_is_its_own(pem: str, tmp_path: Path) -> None:
    assert checked_client_certificate(pem, "north") == pem
    assert (tmp_path / "tls.key").stat().st_mode & 0o077 == 0
    assert "PRIVATE" not in pem
    assert days_left(pem) == pytest.approx(CLIENT_DAYS, abs=1)
    der = ssl.PEM_cert_to_DER_cert(pem)
    assert proxy_fingerprint(pem) == hashlib.sha1(der, usedforsecurity=False).hexdigest()


def test_a_key_with_its_certificate_is_kept_and_half_a_pair_is_made_anew(pem: str, tmp_path: Path) -> None:
    again = create_client_certificate(tmp_path / "tls.key", tmp_path / "tls.crt", "north")
    assert again == pem
    (tmp_path / "tls.key").unlink()
    assert create_client_certificate(tmp_path / "tls.key", tmp_path / "tls.crt", "north") != pem


def test_a_key_that_was_written_without_its_certificate_is_no_pair(
    pem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two: the older certificate stays beside the new key."""
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
    key.unlink()
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr("common.trust.client_certificate.write_durably", _killed)
        create_client_certificate(key, certificate, "north")
    assert certificate.read_text() == pem and not is_pair(key, certificate)
    create_client_certificate(key, certificate, "north")
    ssl.create_default_context().load_cert_chain(certificate, key)


def _killed(path: Path, text: str) -> None:
    raise InterruptedError


def test_text_around_a_certificate_does_not_reach_the_hub(pem: str) -> None:
    assert checked_client_certificate(f"ssl_verify off;\n{pem}\nrole operator;\n", "north") == pem


def _made(
    *,
    curve: ec.EllipticCurve | None = None,
    authority: bool = False,
    usage: x509.ObjectIdentifier = CLIENT,
    start: datetime = NOW - timedelta(hours=1),
    end: datetime = NOW + timedelta(days=30),
    foreign: bool = False,
    subject: str = "north",
    issuer: str = "north",
) -> str:
    key, other = (ec.generate_private_key(curve or ec.SECP384R1()) for _ in range(2))
    named, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, issuer))
    built = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(other if foreign else key, hashes.SHA384())
    )
    return built.public_bytes(serialization.Encoding.PEM).decode("ascii")


def test_the_plain_case_of_the_refused_ones_is_taken() -> None:
    assert checked_client_certificate(_made(), "north")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: _made(curve=ec.SECP256R1()), "P-384"),
        (lambda: _made(authority=True), "authority"),
        (lambda: _made(usage=SERVER), "client only"),
        (lambda: _made(end=NOW - timedelta(minutes=1)), "not valid now"),
        (lambda: _made(start=NOW + timedelta(hours=1)), "not valid now"),
        (lambda: _made(end=NOW + timedelta(days=CLIENT_DAYS + 30)), f"more than {CLIENT_DAYS} days"),
        (lambda: _made(subject="south", issuer="south"), "the name north alone"),
        (lambda: _made(subject="North", issuer="North"), "the name north alone"),
        (lambda: _made(issuer="south"), "the name north alone"),
        (lambda: _made(foreign=True), "not readable or not complete"),
        (lambda: "", "not readable"),
        (lambda: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not readable"),
    ],
)
def test_a_certificate_of_another_kind_is_refused_by_name(make: Callable[[], str], word: str) -> None:
    with pytest.raises(TrustError, match=word):
        checked_client_certificate(make(), "north")


def test_the_certificate_of_a_server_opens_nothing(tmp_path: Path) -> None:
    create_authority(tmp_path / "ca.key", tmp_path / "ca.crt", "consortium")
    certificate = tmp_path / "server.pem"
    issue_server(
        tmp_path / "ca.key", tmp_path / "ca.crt", ["localhost"], key=tmp_path / "s.key", certificate=certificate
    )
    with pytest.raises(TrustError):
        checked_client_certificate(certificate.read_text(), "localhost")
