"""The hub's side of signed requests: each site gets its own, numbered so that no old one can be played again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flwr.app import RecordDict

from common.errors import ConfigError
from common.protocol.messages import Request, pack_request
from common.protocol.signed_request import Claims, addressed
from common.trust.durable import write_durably
from common.trust.signing import SiteKey

KEY = "ONCOFED_HUB_KEY"
"""Names the Ed25519 key that signs requests, which every site has pinned; set by the hub's daemon only."""
NUMBERS = "requests.json"
GRACE_SECONDS = 3600
"""Beyond the time that the hub waits for an answer; the site adds what clocks may differ."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes the messages of one run.

    Attributes:
        folder: Of the run; it keeps the number of the last request, so that a run that goes on counts on.
        key: Signs; None where no hub's daemon gave one, as in the simulator, whose sites take unsigned requests.
        wait_seconds: For how long the hub waits for an answer.
    """

    folder: Path
    key: SiteKey | None
    wait_seconds: float

    @classmethod
    def of(cls, folder: Path, wait_seconds: float) -> Signer:
        """Returns the signer with the key that the daemon named.

        Raises:
            TrustError: The key is missing, damaged or readable by others.
        """
        path = os.environ.get(KEY)
        return cls(folder, SiteKey.read(Path(path)) if path else None, wait_seconds)

    def messages(self, request: Request, sites: Mapping[int, str]) -> dict[int, RecordDict]:
        """Returns the request for each node, made out to the site there; all share the same arrays."""
        content, first = pack_request(request), self._numbers(len(sites))
        expires = int(time.time() + self.wait_seconds) + GRACE_SECONDS
        claims = Claims.of(request, site="", number=0, expires=expires)
        return {
            node: addressed(content, claims.to(site, first + index), self.key)
            for index, (node, site) in enumerate(sites.items())
        }

    def _numbers(self, count: int) -> int:
        """Returns the first of so many unused numbers, durably taken.

        Never below the time, so that a run folder from a backup does not count from where it once was.
        """
        path = self.folder / NUMBERS
        try:
            last = int(json.loads(path.read_text(encoding="utf-8"))["last"]) if path.exists() else 0
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{path} is damaged; delete it, then resume the run") from None
        first = max(last + 1, time.time_ns() // 1_000_000)
        write_durably(path, json.dumps({"last": first + count}))
        return first
