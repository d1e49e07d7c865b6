"""What the site's daemon last wrote of itself."""

from __future__ import annotations

from typing import Any

from client.site.site_file import SiteHome
from common.services.supervisor import last_state


def state(home: SiteHome) -> dict[str, Any]:
    """Returns what the site's daemon last wrote: :func:`common.services.supervisor.last_state`."""
    return last_state(home.state_file, home.path / "site.lock", "site")
