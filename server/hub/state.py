"""What the hub's daemon last wrote of itself."""

from __future__ import annotations

import json
from typing import Any

from common.errors import NetworkError
from common.services.supervisor import is_held
from server.hub.home import HubHome


def state(home: HubHome) -> dict[str, Any]:
    """Returns what the daemon last wrote; ``stopped`` where its process is gone.

    Raises:
        NetworkError: The file cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads(home.state_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"status": "never started", "processes": {}}
    except ValueError:
        raise NetworkError(f"{home.state_file} is damaged; restart the hub") from None
    if found["status"] != "stopped" and not is_held(home.lock):
        found["status"] = "dead"
    return found
