"""What a secure sum adds to a round: at each site, which work side by side, and at the hub."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

VALUES = 1_000_000
GOAL_SECONDS = 0.3
RUN, STUDY = "bench", "00" * 32


def sums(sites: Sequence[int] = (3, 30), values: int = VALUES, repeats: int = 5) -> list[dict[str, Any]]:
    """Returns a row for each number of sites, in processor seconds: roster and masks of one site, the hub's adding.

    The noise is drawn without a secure sum too, so it is no overhead; it stands beside.
    """
    return [_row(count, values, repeats) for count in sites]


def _row(sites: int, values: int, repeats: int) -> dict[str, Any]:
    import numpy as np

    from common.privacy.discrete import MAX_SCALE
    from common.privacy.noise import draw_steps
    from common.privacy.randomness import Randomness
    from common.protocol.secure_sum import check_roster, masked, sum_digest, unmasked_sum

    keys, roster, register = _consortium(sites)
    own, vector = roster[0], np.arange(values, dtype=np.int64)
    stream = Randomness.from_entropy().noise

    def site() -> object:
        check_roster(roster, run=RUN, study=STUDY, register=register, own=own)
        digest = sum_digest(study=STUDY, run=RUN, round_index=1, attempt=1, roster=roster, weights="")
        return masked(vector, own, roster, keys[own.site], RUN, digest)

    parts = [vector.view(np.uint64)] * sites
    at_site = _seconds(site, repeats)
    at_hub = _seconds(lambda: unmasked_sum(parts), repeats)
    noise = _seconds(lambda: [len(block) for block in draw_steps(values, MAX_SCALE >> 10, stream)], repeats)
    return {"sites": sites, "values": values, "a site (s)": at_site, "the hub (s)": at_hub,
            "a round (s)": at_site + at_hub, f"goal {GOAL_SECONDS} s": at_site + at_hub < GOAL_SECONDS,
            "noise (s), beside": noise}  # fmt: skip


def _consortium(sites: int) -> tuple[dict[str, Any], tuple[Any, ...], dict[str, str]]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from common.protocol.secure_sum import Announcement, RunKey
    from common.trust.signing import SiteKey

    names = [f"site_{index:02d}" for index in range(sites)]
    keys = {name: RunKey.fresh() for name in names}
    identities = {name: SiteKey(Ed25519PrivateKey.generate()) for name in names}
    plain = [Announcement(site=name, patients=100, key=keys[name].public_hex) for name in names]
    roster = tuple(one.signed(RUN, STUDY, identities[one.site]) for one in plain)
    return keys, roster, {name: key.public_hex for name, key in identities.items()}


def _seconds(work: Callable[[], object], repeats: int) -> float:
    """Returns the median of the processor's seconds, after one run that does not count."""
    work()
    found = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return statistics.median(found)
