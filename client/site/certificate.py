"""The site's own readiness certificate, kept in its home for studies that ask for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import DataError

if TYPE_CHECKING:
    from client.site.policy import SitePolicy

FILE = "readiness.json"


def read_certificate(home: Path) -> dict[str, Any]:
    """Returns the certificate in the site's home.

    Raises:
        DataError: There is none, or it cannot be read.
    """
    path = home / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"The study asks for a readiness certificate and there is none. {_how(home)}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}). {_how(home)}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no certificate. {_how(home)}")
    return found


def releasable_certificate(home: Path, policy: SitePolicy, *, noised: bool) -> dict[str, Any]:
    """Returns the certificate as it may leave: what it counts, the policy lets be counted.

    Args:
        home: The site's folder.
        policy: The site's.
        noised: Whether the study's counts hold noise, which an exact number beside them would take off.

    Raises:
        DataError: There is none, it cannot be read, or it counts what may not leave.
    """
    found = read_certificate(home)
    if (noised or not policy.counts_anybody) and any(_counts(found)):
        raise DataError(
            f"The certificate counts patients, which the policy or the study does not let leave. {_how(home)}"
        )
    return found


def _counts(certificate: Mapping[str, Any]) -> Iterator[bool]:
    """Yields whether each of its places for a count holds one; a place that holds something else counts as one."""
    for part in (certificate.get("patients"), certificate.get("subgroups")):
        for row in part.values() if isinstance(part, dict) else [part]:
            cells = row.values() if isinstance(row, dict) else [row]
            yield any(cell not in (None, 0) for cell in cells)
    for finding in certificate.get("findings") or ():
        yield not isinstance(finding, dict) or finding.get("count") is not None


def _how(home: Path) -> str:
    return f"Make it with: oncofed-site data certify --out {home}"
