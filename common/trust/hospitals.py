"""The register of hospitals that sum together: names and long-term keys that people compared beforehand.

The hub may hand the file round; it is believed once the hospitals have read each other its fingerprint by telephone. A
hub that puts hospitals of its own into it changes the fingerprint. A hub that has the file too can name a hospital
whose announcement the others would not believe.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from common.canonical import canonical
from common.errors import ConfigError, TrustError
from common.trust.durable import write_durably
from common.trust.kit import check_site_name
from common.trust.signing import SiteKey

HOSPITALS = "hospitals.json"
"""Name of the hub's file, beside its register of sites."""
DIGITS = 40
_KEY = re.compile(r"[0-9a-f]{64}")


def register_fingerprint(register: Mapping[str, str]) -> str:
    """Returns what hospitals compare: 160 bits of SHA-256 over every name and key, in groups of four digits.

    Whoever collects the keys could make two registers with the same 64 bits, one for each of two hospitals.
    """
    digest = hashlib.sha256(canonical(register).encode()).hexdigest()[:DIGITS]
    return "-".join(digest[start : start + 4] for start in range(0, DIGITS, 4))


def own_line(name: str, key: Path) -> tuple[str, str]:
    """Returns the name and public key by which other hospitals know a site; the key is made on first use."""
    key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return name, SiteKey.open(key).public_hex


def read_register(file: Path) -> dict[str, str]:
    """Returns the register in a file of lines ``NAME KEY``.

    Raises:
        ConfigError: It cannot be read, or is none.
    """
    try:
        return combined(file.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read ({error}); expected lines of NAME KEY") from None


def combined(lines: Iterable[str]) -> dict[str, str]:
    """Returns the register in lines ``NAME KEY``, as ``oncofed-site sum-key`` prints them, sorted.

    Raises:
        ConfigError: A line is no name and key, or a name or key stands twice.
    """
    found = dict[str, str]()
    for line in filter(None, map(str.strip, lines)):
        name, _, key = line.partition(" ")
        if not _KEY.fullmatch(key.strip()) or name in found or key.strip() in found.values():
            raise ConfigError(f"Expected lines of NAME KEY, each name and key once, got {line[:80]!r}")
        found[check_site_name(name)] = key.strip()
    return dict(sorted(found.items()))


def pin_register(path: Path, register: Mapping[str, str], *, own: tuple[str, str]) -> str:
    """Writes the register to ``path``, from where rosters are checked; returns its fingerprint.

    Raises:
        TrustError: It does not hold this site (``own``: name and key), or another key of it.
    """
    name, key = own
    if register.get(name) != key:
        raise TrustError(f"The register does not hold this site as {name} {key}; add it, then compare again")
    return write_register(path, register)


def write_register(path: Path, register: Mapping[str, str]) -> str:
    """Writes the register to ``path``, durably; returns its fingerprint."""
    write_durably(path, json.dumps(dict(sorted(register.items())), indent=2))
    return register_fingerprint(register)


def pinned_register(path: Path) -> dict[str, str]:
    """Returns the register; empty where none is pinned, and the site then joins no secure sum.

    Raises:
        TrustError: The file is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return combined(f"{name} {key}" for name, key in found.items())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, ConfigError):
        raise TrustError(f"{path} is damaged; pin the register anew with: trust-roster FILE") from None
