"""The sites that a hub knows: invited, approved, revoked. The file is the truth; Flower's own list follows it."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from common.errors import ConfigError, TrustError
from common.trust.client_certificate import certificate_key, days_left
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
        former_keys: Its public keys that were revoked, of each kind; none of them is let in again.
        declared_patients: Public size of its training cohort, as both sides agreed; 0: not agreed yet.
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
    declared_patients: int = 0

    @property
    def keys(self) -> frozenset[str]:
        """Its public keys, of each kind: what tells it from others, however a file that holds them is written."""
        of_certificate = certificate_key(self.certificate) if self.certificate else ""
        return frozenset({self.node_key, self.signing_key, of_certificate} - {""})

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
        return self._change(lambda sites: _invited(sites, name))

    def approve(self, request: JoinRequest) -> KnownSite:
        """Returns the site, approved with the keys and the declared patients of its request.

        Raises:
            TrustError: It was never invited, its invitation was used or replaced, or one of its keys is or was
                another's.
        """
        return self._change(lambda sites: _approved(sites, request))

    def agree(self, name: str, declared_patients: int) -> KnownSite:
        """Returns the site with the number of training patients that both sides agreed on.

        Raises:
            ConfigError: There is no such site.
        """
        return self._change(lambda sites: replace(_known(sites, name), declared_patients=declared_patients))

    def revoke(self, name: str) -> KnownSite:
        """Returns the site, which may not connect any more.

        Raises:
            ConfigError: There is no such site.
        """
        return self._change(lambda sites: _revoked(sites, name))

    def set_node(self, name: str, node_id: int) -> KnownSite:
        """Returns the site with the number that Flower gave its node, 0 for none; all else stays as it is by now."""
        return self._change(lambda sites: replace(sites[name], node_id=node_id))

    def _change(self, change: Callable[[Mapping[str, KnownSite]], KnownSite]) -> KnownSite:
        """Puts and returns the site that ``change`` makes of the sites as they are once nobody else changes them."""
        with exclusive(self._path.with_suffix(".lock"), seconds=30.0):
            sites = self.sites()
            site = change(sites)
            rows = {name: _row(one) for name, one in sorted((sites | {site.name: site}).items())}
            write_durably(self._path, json.dumps({"schema_version": 1, "sites": rows}, indent=2) + "\n")
        return site


def _invited(sites: Mapping[str, KnownSite], name: str) -> KnownSite:
    known = sites.get(name, KnownSite(name=name, status="invited", changed=""))
    if known.status == "approved":
        raise ConfigError(f"{name} has joined already; revoke it first if it must make new keys")
    return KnownSite(
        name=name,
        status="invited",
        changed=_now(),
        invitation=secrets.token_hex(16),
        former_keys=_former(known),
        node_id=known.node_id,
        declared_patients=known.declared_patients,
    )


def _approved(sites: Mapping[str, KnownSite], request: JoinRequest) -> KnownSite:
    known = sites.get(request.site)
    if known is None:
        raise TrustError(f"No site {request.site} was invited; invite it first: oncofed-hub invite {request.site}")
    if known.status != "invited" or not secrets.compare_digest(known.invitation, request.invitation):
        raise TrustError(
            f"This request of {request.site} answers an invitation that was used or replaced; "
            f"find out who sent it, then invite the site again: oncofed-hub invite {request.site}"
        )
    site = KnownSite(
        name=request.site,
        status="approved",
        changed=_now(),
        node_key=request.node_key,
        signing_key=request.signing_key,
        certificate=request.certificate,
        former_keys=known.former_keys,
        declared_patients=request.declared_patients or known.declared_patients,
    )
    _check_keys(sites, site)
    return site


def _check_keys(sites: Mapping[str, KnownSite], new: KnownSite) -> None:
    """Raises TrustError where a site has or had one of the new site's keys."""
    if any(not new.keys.isdisjoint(site.former_keys) for site in sites.values()):
        raise TrustError(f"This key was revoked; {new.name} must make new ones: oncofed-site join KIT --new-keys")
    if any(not new.keys.isdisjoint(site.keys) for site in sites.values()):
        raise TrustError("Another site has this key; each site must make its own with oncofed-site join")


def _known(sites: Mapping[str, KnownSite], name: str) -> KnownSite:
    if name not in sites:
        raise ConfigError(f"There is no site {name}; oncofed-hub sites lists them")
    return sites[name]


def _revoked(sites: Mapping[str, KnownSite], name: str) -> KnownSite:
    known = _known(sites, name)
    return replace(known, status="revoked", changed=_now(), invitation="", former_keys=_former(known))


def _former(site: KnownSite) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*site.former_keys, *sorted(site.keys)]))


def _site(name: str, row: dict[str, Any]) -> KnownSite:
    return KnownSite(name=name, **(row | {"former_keys": tuple(row.get("former_keys", ()))}))


def _row(site: KnownSite) -> dict[str, object]:
    return {key: value for key, value in asdict(site).items() if key != "name"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
