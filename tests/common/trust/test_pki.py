"""An authority, a server's certificate and node keys, checked by OpenSSL's own rules and by Flower's reader."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from common.errors import ConfigError, TrustError
from common.trust import pki


@pytest.fixture
def server(tmp_path: Path) -> Path:
    pki.create_authority(tmp_path / "ca.key", tmp_path / "ca.crt", "consortium")
    _issue(tmp_path, ["localhost", "127.0.0.1"])
    return tmp_path


def _issue(folder: Path, names: list[str], days: int = 90) -> None:
    pki.issue_server(
        folder / "ca.key", folder / "ca.crt", names, key=folder / "s.key", certificate=folder / "s.pem", days=days
    )


def _handshake(folder: Path, ca: Path, name: str) -> dict[str, object]:
    """A real TLS handshake through a socket pair; raises what a site's client would meet."""
    inside = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    inside.load_cert_chain(folder / "s.pem", folder / "s.key")
    outside = ssl.create_default_context(cafile=str(ca))
    left, right = socket.socketpair()

    def serve() -> None:
        try:
            inside.wrap_socket(left, server_side=True).close()
        except (ssl.SSLError, OSError):
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with outside.wrap_socket(right, server_hostname=name) as connection:
            return dict(connection.getpeercert() or {})
    finally:
        right.close()
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_site_with_the_authority_believes_the_server_under_each_of_its_names(server: Path, name: str) -> None:
    assert _handshake(server, server / "ca.crt", name)


def test_it_believes_neither_another_name_nor_another_authority_nor_an_expired_one(server: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        _handshake(server, server / "ca.crt", "hub.example.org")
    pki.create_authority(server / "other.key", server / "other.crt", "somebody else")
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        _handshake(server, server / "other.crt", "localhost")
    _issue(server, ["localhost"], days=0)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        _handshake(server, server / "ca.crt", "localhost")


def test_private_files_are_for_their_owner_only_and_rotation_changes_the_key(server: Path) -> None:
    assert (server / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (server / "s.key").stat().st_mode & 0o777 == 0o600
    before = (server / "s.key").read_bytes()
    _issue(server, ["localhost"])
    assert (server / "s.key").read_bytes() != before
    facts = pki.certificate_facts(server / "s.pem")
    assert facts.names == ("localhost",) and 89 < facts.days_left() < 90


def test_a_node_key_is_what_flower_reads_and_stays(tmp_path: Path) -> None:
    line = pki.create_node_key(tmp_path / "node", "north")
    private = load_ssh_private_key((tmp_path / "node").read_bytes(), None)
    assert private.public_key() == load_ssh_public_key(line.encode())
    assert line.startswith("ecdsa-sha2-nistp384 ") and line.endswith(" north")
    assert pki.create_node_key(tmp_path / "node", "north") == line
    assert pki.checked_public_line(line) == line.removesuffix(" north")


def test_an_open_or_missing_key_is_refused(tmp_path: Path) -> None:
    pki.create_node_key(tmp_path / "node", "north")
    (tmp_path / "node").chmod(0o644)
    with pytest.raises(TrustError, match="chmod 600"):
        pki.public_line(tmp_path / "node", "north")
    with pytest.raises(TrustError, match="no readable key"):
        pki.public_line(tmp_path / "absent", "north")


@pytest.mark.parametrize("line", ["", "ssh-ed25519 AAAA", "no key at all", "ecdsa-sha2-nistp384 AAAA"])
def test_no_other_kind_of_public_key_is_taken(line: str) -> None:
    with pytest.raises(TrustError):
        pki.checked_public_line(line)


def test_a_certificate_needs_a_name(server: Path) -> None:
    with pytest.raises(ConfigError, match="at least one name"):
        _issue(server, [])
