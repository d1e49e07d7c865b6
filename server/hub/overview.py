"""What ``oncofed-hub status`` says: the processes, the sites' connections, the last run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import OncoFedError
from common.trust.pki import certificate_facts
from common.version import version_facts
from server.hub.control import Control
from server.hub.followed import read_status
from server.hub.home import HubHome
from server.hub.registry import Registry
from server.hub.state import state


def overview(home: HubHome, nodes: Mapping[int, str] | None = None) -> dict[str, Any]:
    """Returns the hub, its sites and its last run as JSON values.

    Args:
        home: The hub.
        nodes: Flower's nodes where they are known; None: Flower is asked, which takes seconds.

    Raises:
        ConfigError: There is no hub here.
    """
    nodes = _nodes(home) if nodes is None else nodes
    sites = [
        {"name": site.name, "status": site.status, "connection": nodes.get(site.node_id, "unknown")}
        for site in Registry(home.sites_file).sites().values()
    ]
    return {
        "schema_version": 1,
        "release": version_facts(),
        "hub": state(home),
        "certificate_days_left": round(certificate_facts(home.server).days_left()),
        "sites": sites,
        "run": _last_run(home),
    }


def _nodes(home: HubHome) -> dict[int, str]:
    control = Control(home)
    try:
        return control.nodes() if control.alive() else {}
    except OncoFedError:
        return {}


def _last_run(home: HubHome) -> dict[str, Any] | None:
    noted = [Path(home.last_run.read_text(encoding="utf-8").strip())] if home.last_run.exists() else []
    files = {folder / "run.json" for folder in (*noted, *home.runs.glob("*"))}
    started = sorted((path for path in files if path.exists()), key=lambda path: path.stat().st_mtime)
    if not started:
        return None
    folder = started[-1].parent
    found = read_status(folder) or {}
    kept = ("status", "reason", "rounds_done", "rounds_planned", "run_id", "started", "finished")
    return {"folder": str(folder)} | {key: found.get(key) for key in kept}
