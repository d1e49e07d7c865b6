"""Times taken side by side, so that what else the machine does falls on all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def interleaved(
    actions: Sequence[Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Returns the median seconds of each action by ``clock``, all run in turn ``repeats`` times after one warm-up."""
    for action in actions:
        action()
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(repeats):
        for kept, action in zip(times, actions, strict=True):
            started = clock()
            action()
            kept.append(clock() - started)
    return [statistics.median(kept) for kept in times]
