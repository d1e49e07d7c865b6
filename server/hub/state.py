"""What the hub's daemon last wrote of itself."""

from __future__ import annotations

from typing import Any

from common.services.supervisor import last_state
from server.hub.home import HubHome


def state(home: HubHome) -> dict[str, Any]:
    """Returns what the hub's daemon last wrote: :func:`common.services.supervisor.last_state`."""
    return last_state(home.state_file, home.lock, "hub")
