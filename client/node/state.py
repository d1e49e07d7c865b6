"""What the site's daemon last wrote of itself."""

from __future__ import annotations

import json
from typing import Any

from client.site.site_file import SiteHome
from common.errors import NetworkError
from common.services.supervisor import is_held


def state(home: SiteHome) -> dict[str, Any]:
    """Returns what the daemon last wrote; ``dead`` where its process is gone without a word.

    Raises:
        NetworkError: The file cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads(home.state_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"status": "never started", "processes": {}}
    except ValueError:
        raise NetworkError(f"{home.state_file} is damaged; restart the site") from None
    if found["status"] != "stopped" and not is_held(home.path / "site.lock"):
        found["status"] = "dead"
    return found
