"""Who is let in: only an invited site, once, with keys of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from common.errors import ConfigError, TrustError
from common.trust.kit import JoinRequest
from server.hub.registry import Registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    (tmp_path / "sites.json").write_text('{"schema_version": 1, "sites": {}}')
    return Registry(tmp_path / "sites.json")


def _request(registry: Registry, name: str, key: str = "k1") -> JoinRequest:
    invitation = registry.sites()[name].invitation
    return JoinRequest(site=name, invitation=invitation, node_key=key, signing_key="00", certificate=f"of {key}")


def test_a_site_is_let_in_by_its_invitation_once(registry: Registry) -> None:
    registry.invite("north")
    request = _request(registry, "north")
    assert registry.approve(request).status == "approved"
    with pytest.raises(TrustError, match="used or replaced"):
        registry.approve(request)
    with pytest.raises(ConfigError, match="joined already"):
        registry.invite("north")


def test_strangers_old_invitations_and_borrowed_keys_are_refused(registry: Registry) -> None:
    with pytest.raises(TrustError, match="No site"):
        registry.approve(JoinRequest(site="east", invitation="", node_key="k", signing_key="", certificate=""))
    registry.invite("north")
    old = _request(registry, "north")
    registry.invite("north")
    with pytest.raises(TrustError, match="used or replaced"):
        registry.approve(old)
    registry.approve(_request(registry, "north"))
    registry.invite("south")
    with pytest.raises(TrustError, match="Another site has this key"):
        registry.approve(_request(registry, "south"))
    with pytest.raises(TrustError, match="Another site has this key"):
        registry.approve(dataclasses.replace(_request(registry, "south", "k2"), certificate="of k1"))


def test_an_empty_invitation_never_opens(registry: Registry) -> None:
    registry.invite("north")
    registry.approve(_request(registry, "north"))
    registry.revoke("north")
    with pytest.raises(TrustError):
        registry.approve(dataclasses.replace(_request(registry, "north"), invitation=""))
    assert registry.invite("north").status == "invited"


def test_a_damaged_file_says_so(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "sites.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        registry.sites()


def test_a_revoked_key_never_comes_back_but_new_ones_do(registry: Registry) -> None:
    registry.invite("north")
    registry.approve(_request(registry, "north", "stolen"))
    registry.set_node("north", 7)
    registry.revoke("north")
    for _ in range(2):
        registry.invite("north")
        with pytest.raises(TrustError, match="--new-keys"):
            registry.approve(_request(registry, "north", "stolen"))
    assert registry.sites()["north"].node_id == 7  # so that Flower's list is mended even after the new invitation
    assert registry.approve(_request(registry, "north", "fresh")).former_keys == ("stolen",)
    registry.invite("south")
    with pytest.raises(TrustError, match="revoked"):
        registry.approve(_request(registry, "south", "stolen"))
