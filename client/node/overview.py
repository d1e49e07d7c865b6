"""What ``oncofed-site status``, the health page and the metrics say, made once from the same files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from client.node.state import state
from client.site.egress_log import read_egress
from client.site.pause import pause_facts
from client.site.policy import load_policy
from client.site.site_file import SiteHome
from common.errors import OncoFedError
from common.version import version_facts


def overview(home: SiteHome) -> dict[str, Any]:
    """Returns the site's state, pause, budget and what left as JSON values; no path and nothing of a patient.

    Raises:
        ConfigError: There is no site here.
        NetworkError: The daemon's state file is damaged.
    """
    settings = home.read()
    return (
        {"schema_version": 1, "name": settings.name, "hub": settings.hub, "release": version_facts()}
        | state(home)
        | pause_facts(home)
        | _left(home.egress, _stamp(home.egress))
        | {"budget": _budget(home, home.path / settings.policy, home.path / settings.ledger)}
    )


@lru_cache(maxsize=4)
def _left(journal: Path, stamp: tuple[float, ...]) -> dict[str, Any]:
    log = read_egress(journal)
    return {"last_answer": log.last, "answers": len(log.messages), "refusals": log.refusals}


def _budget(home: SiteHome, policy: Path, ledger: Path) -> dict[str, Any]:
    """Returns the largest lifetime epsilon of a cohort (or ``unbounded``) under its own delta, and the ceiling."""
    found: dict[str, Any] = {"epsilon": 0.0, "delta": None, "charges": 0, "ceiling": None, "problem": None}
    try:
        found["ceiling"] = load_policy(policy).ceiling
        found |= _spent(home, ledger, _stamp(ledger))
    except OncoFedError as error:
        found |= {"epsilon": None, "problem": type(error).__name__}
    return found


@lru_cache(maxsize=4)
def _spent(home: SiteHome, ledger: Path, stamp: tuple[float, ...]) -> dict[str, Any]:
    """Composes anew only after the ledger has changed: a page that is asked for each second costs nothing."""
    from client.site.accounts import spent
    from client.site.studies import noted_studies
    from common.privacy.exposure import finite_or_infinite
    from common.privacy.ledger import Ledger

    if not ledger.exists():
        return {}
    with Ledger(ledger) as book:
        rows = spent(book, noted_studies(home.path))
        charges = len(book.charges())
    worst = max(rows, key=lambda row: finite_or_infinite(row["lifetime_epsilon"]), default=None)
    if worst is None:
        return {}
    return {"epsilon": worst["lifetime_epsilon"], "delta": worst["delta"], "charges": charges}


def _stamp(path: Path) -> tuple[float, ...]:
    """Returns what differs once the file, or what SQLite and the ledger keep beside it, was written."""
    files = (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", ".head")))
    found = [file.stat() for file in files if file.exists()]
    return tuple(number for stat in found for number in (stat.st_mtime_ns, stat.st_size, stat.st_ino))
