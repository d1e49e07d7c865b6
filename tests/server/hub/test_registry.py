"""Who is let in: only an invited site, once, with keys of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from common.errors import ConfigError, TrustError
from common.trust.client_certificate import create_client_certificate
from common.trust.kit import JoinRequest
from common.trust.pki import create_node_key
from common.trust.signing import SiteKey
from server.hub import registry as module
from server.hub.registry import Registry
from tests.server.hub.asking import asked


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    (tmp_path / "sites.json").write_text('{"schema_version": 1, "sites": {}}')
    return Registry(tmp_path / "sites.json")


@pytest.fixture
def north(registry: Registry, tmp_path: Path) -> JoinRequest:
    """The request with which the site ``north`` has come in; its keys are in the folder ``north``."""
    registry.invite("north")
    request = asked(registry, "north", tmp_path / "north")
    assert registry.approve(request).status == "approved"
    return request


def test_a_site_is_let_in_by_its_invitation_once(registry: Registry, north: JoinRequest) -> None:
    with pytest.raises(TrustError, match="used or replaced"):
        registry.approve(north)
    with pytest.raises(ConfigError, match="joined already"):
        registry.invite("north")


def test_strangers_old_invitations_and_borrowed_keys_are_refused(
    registry: Registry, north: JoinRequest, tmp_path: Path
) -> None:
    with pytest.raises(TrustError, match="No site"):
        registry.approve(dataclasses.replace(north, site="east"))
    registry.invite("south")
    old = asked(registry, "south", tmp_path / "south")
    registry.invite("south")
    with pytest.raises(TrustError, match="used or replaced"):
        registry.approve(old)
    for borrowed in ("node_key", "signing_key", "certificate"):
        own = asked(registry, "south", tmp_path / "south")
        with pytest.raises(TrustError, match="Another site has this key"):
            registry.approve(dataclasses.replace(own, **{borrowed: getattr(north, borrowed)}))


def test_an_empty_invitation_never_opens(registry: Registry, north: JoinRequest) -> None:
    registry.revoke("north")
    with pytest.raises(TrustError):
        registry.approve(dataclasses.replace(north, invitation=""))
    assert registry.invite("north").status == "invited"


def test_a_damaged_file_says_so(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "sites.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        registry.sites()


def test_a_revoked_key_never_comes_back_but_new_ones_do(registry: Registry, north: JoinRequest, tmp_path: Path) -> None:
    registry.set_node("north", 7)
    registry.revoke("north")
    for _ in range(2):
        registry.invite("north")
        with pytest.raises(TrustError, match="--new-keys"):
            registry.approve(asked(registry, "north", tmp_path / "north"))
    assert registry.sites()["north"].node_id == 7  # so that Flower's list is mended even after the new invitation
    fresh = registry.approve(asked(registry, "north", tmp_path / "fresh"))
    assert len(fresh.former_keys) == 3 and fresh.keys.isdisjoint(fresh.former_keys)
    registry.invite("south")
    with pytest.raises(TrustError, match="revoked"):
        registry.approve(asked(registry, "south", tmp_path / "south", node_key=north.node_key))


@pytest.mark.parametrize("kept", ["node", "site.ed25519", "tls.key"])
def test_no_kind_of_revoked_key_comes_back_in_other_words(
    registry: Registry, north: JoinRequest, tmp_path: Path, kept: str
) -> None:
    """The certificate is a new one where its key is kept: the key counts, not the text."""
    registry.revoke("north")
    registry.invite("north")
    keys = tmp_path / "mostly new"
    keys.mkdir()
    (tmp_path / "north" / kept).rename(keys / kept)
    changed: dict[str, str] = {}
    if kept == "tls.key":
        changed["certificate"] = _another_certificate(keys / "tls.key")
        create_client_certificate(tmp_path / "spare.key", keys / "tls.crt", "north")
    elif kept == "node":
        changed["node_key"] = create_node_key(keys / "node", "x") + " x"
    else:
        changed["signing_key"] = SiteKey.open(keys / kept).public_hex.upper()
    with pytest.raises(TrustError, match="revoked"):
        registry.approve(asked(registry, "north", keys, **changed))


def _another_certificate(key: Path) -> str:
    """A later certificate of the same key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    from common.trust.pki import certificate_builder, common_name

    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    name = common_name("north")
    built = (
        certificate_builder(name, name, private.public_key(), 30)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(private, hashes.SHA384())
    )
    return built.public_bytes(serialization.Encoding.PEM).decode("ascii")


def test_what_a_site_writes_around_its_keys_is_not_kept(registry: Registry, tmp_path: Path) -> None:
    """A second, broken block would keep nginx from reading the list, and every hospital out."""
    registry.invite("north")
    true = asked(registry, "north", tmp_path / "north")
    junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    odd = {"certificate": true.certificate + junk, "node_key": f"{true.node_key} comment"}
    site = registry.approve(asked(registry, "north", tmp_path / "north", **odd))
    assert (site.certificate, site.node_key) == (true.certificate, true.node_key)


def _first(monkeypatch: pytest.MonkeyPatch, other: Callable[[], object]) -> None:
    """Has another process make its change just before the next one gets the lock."""
    lock = module.exclusive

    def late(path: Path, seconds: float) -> AbstractContextManager[None]:
        monkeypatch.setattr(module, "exclusive", lock)
        other()
        return lock(path, seconds)

    monkeypatch.setattr(module, "exclusive", late)


def test_a_revocation_outlives_what_is_written_at_the_same_time(
    registry: Registry, north: JoinRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    _first(monkeypatch, lambda: registry.revoke("north"))
    registry.set_node("north", 777)
    site = registry.sites()["north"]
    assert (site.status, site.node_id) == ("revoked", 777)


def test_one_invitation_lets_one_of_two_in(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.invite("north")
    first, second = (asked(registry, "north", tmp_path / name) for name in ("true", "thief"))
    _first(monkeypatch, lambda: registry.approve(first))
    with pytest.raises(TrustError, match="used or replaced"):
        registry.approve(second)
    assert registry.sites()["north"].node_key == first.node_key


def test_an_approval_does_not_undo_a_revocation(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.invite("north")
    request = asked(registry, "north", tmp_path / "north")
    _first(monkeypatch, lambda: registry.revoke("north"))
    with pytest.raises(TrustError, match="used or replaced"):
        registry.approve(request)
