"""What people type for a place in the network: ``host:port``, checked before anything is made of it."""

from __future__ import annotations

import ipaddress
import re

from common.errors import ConfigError

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
LONGEST_HOST = 253
"""Characters of a DNS name (RFC 1035, section 2.3.4)."""


def check_address(text: str) -> tuple[str, int]:
    """Returns host and port of ``host:port``; an IPv6 address stands in brackets, and the host comes without them.

    Raises:
        ConfigError: There is no port, it is not in 1..65535, or the host is no DNS name and no IP address.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65_535:
        raise ConfigError(f"The address {text[:80]!r} is not usable; expected host:port with a port of 1 to 65535")
    bracketed = host.startswith("[") and host.endswith("]")
    if not bracketed and ":" in host:
        raise ConfigError(f"The address {text[:80]!r} is not usable; write an IPv6 address as [::1]:9443")
    if bracketed and not _is_ip(host[1:-1], version=6):
        raise ConfigError(
            f"The address {text[:80]!r} is not usable; expected an IPv6 address without a zone in brackets"
        )
    return check_host(host[1:-1] if bracketed else host), int(port)


def check_host(host: str) -> str:
    """Returns the DNS name (in ASCII, as a certificate has it) or IP address.

    Raises:
        ConfigError: It is neither.
    """
    if _is_ip(host):
        return host
    labels = host.split(".")
    numbers_only = all(label.isdigit() for label in labels)
    if not host or len(host) > LONGEST_HOST or numbers_only or not all(_LABEL.fullmatch(label) for label in labels):
        raise ConfigError(
            f"The host {host[:80]!r} is not usable; expected a DNS name such as hub.example.org or an IP address"
        )
    return host


def _is_ip(text: str, version: int | None = None) -> bool:
    """Whether it is an address that any machine may dial; a zone such as ``%eth0`` means something on one only."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text and version in (None, found.version)
