"""The sites that a hub knows: invited, approved, revoked. The file is the truth; Flower's own list follows it."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from common.errors import ConfigError, TrustError
from common.trust.client_certificate import days_left
from common.trust.durable import exclusive, write_durably
from common.trust.kit import JoinRequest, check_site_name

Status = Literal["invited", "approved", "revoked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSite:
    """One line of the registry.

    Attributes:
        invitation: One-time number of the invitation, hex; empty once it was used.
        node_key: OpenSSH public key of its SuperNode.
        signing_key: Ed25519 public key, hex.
        certificate: PEM that proves it to the proxy.
        node_id: Flower's number of the node, 0 while Flower does not know it.
        former_keys: Its keys that were revoked; none of them is let in again.
    """

    name: str
    status: Status
    changed: str
    invitation: str = ""
    node_key: str = ""
    signing_key: str = ""
    certificate: str = ""
    node_id: int = 0
    former_keys: tuple[str, ...] = ()

    @property
    def certificate_days_left(self) -> int | None:
        """Whole days until its certificate expires, negative once it has; None while it has none."""
        return math.floor(days_left(self.certificate)) if self.certificate else None


class Registry:
    """Reads and changes ``sites.json``, one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def sites(self) -> dict[str, KnownSite]:
        """Returns the sites by name, sorted.

        Raises:
            ConfigError: The file is missing or damaged.
        """
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))["sites"]
            return {name: _site(name, row) for name, row in sorted(rows.items())}
        except FileNotFoundError:
            raise ConfigError(f"There is no hub in {self._path.parent}; make one with: oncofed-hub init") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(f"{self._path} is damaged; restore it from the backup") from None

    def by_status(self, status: Status) -> list[KnownSite]:
        """Returns the sites of that status, by name."""
        return [site for site in self.sites().values() if site.status == status]

    def invite(self, name: str) -> KnownSite:
        """Returns the site with a fresh invitation; an older one of it no longer holds.

        Raises:
            ConfigError: The name is not usable, or that site is approved already.
        """
        check_site_name(name)
        known = self.sites().get(name)
        if known is not None and known.status == "approved":
            raise ConfigError(f"{name} has joined already; revoke it first if it must make new keys")
        former = () if known is None else _former(known)
        invitation = secrets.token_hex(16)
        return self._put(
            KnownSite(
                name=name,
                status="invited",
                changed=_now(),
                invitation=invitation,
                former_keys=former,
                node_id=known.node_id if known else 0,
            )
        )

    def approve(self, request: JoinRequest) -> KnownSite:
        """Returns the site, approved with the keys of its request.

        Raises:
            TrustError: It was never invited, its invitation was used or replaced, or another site has its key.
        """
        sites = self.sites()
        known = sites.get(request.site)
        if known is None:
            raise TrustError(f"No site {request.site} was invited; invite it first: oncofed-hub invite {request.site}")
        if known.status != "invited" or not secrets.compare_digest(known.invitation, request.invitation):
            raise TrustError(
                f"This request of {request.site} answers an invitation that was used or replaced; "
                f"find out who sent it, then invite the site again: oncofed-hub invite {request.site}"
            )
        if any(request.node_key in site.former_keys for site in sites.values()):
            raise TrustError(
                f"This key was revoked; {request.site} must make new ones: oncofed-site join KIT --new-keys"
            )
        if any(request.node_key == site.node_key or request.certificate == site.certificate for site in sites.values()):
            raise TrustError("Another site has this key; each site must make its own with oncofed-site join")
        return self._put(
            KnownSite(
                name=request.site,
                status="approved",
                changed=_now(),
                node_key=request.node_key,
                signing_key=request.signing_key,
                certificate=request.certificate,
                former_keys=known.former_keys,
            )
        )

    def revoke(self, name: str) -> KnownSite:
        """Returns the site, which may not connect any more.

        Raises:
            ConfigError: There is no such site.
        """
        known = self.sites().get(name)
        if known is None:
            raise ConfigError(f"There is no site {name}; oncofed-hub sites lists them")
        former = _former(known)
        return self._put(replace(known, status="revoked", changed=_now(), invitation="", former_keys=former))

    def set_node(self, name: str, node_id: int) -> KnownSite:
        """Returns the site with the number that Flower gave its node, 0 for none."""
        return self._put(replace(self.sites()[name], node_id=node_id))

    def _put(self, site: KnownSite) -> KnownSite:
        self._change(lambda sites: sites | {site.name: site})
        return site

    def _change(self, change: Callable[[dict[str, KnownSite]], dict[str, KnownSite]]) -> None:
        with exclusive(self._path.with_suffix(".lock"), seconds=30.0):
            rows = {name: _row(site) for name, site in sorted(change(self.sites()).items())}
            write_durably(self._path, json.dumps({"schema_version": 1, "sites": rows}, indent=2) + "\n")


def _former(site: KnownSite) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*site.former_keys, *([site.node_key] if site.node_key else [])]))


def _site(name: str, row: dict[str, Any]) -> KnownSite:
    return KnownSite(name=name, **(row | {"former_keys": tuple(row.get("former_keys", ()))}))


def _row(site: KnownSite) -> dict[str, object]:
    return {key: value for key, value in asdict(site).items() if key != "name"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
