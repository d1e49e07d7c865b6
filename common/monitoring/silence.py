"""A stream that nobody feeds is a fault, not a quiet week."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from datetime import date

CHANCE = 1e-3
"""That a gap as long as alarms comes about by chance."""


FEWEST = 10
"""Days with an event from which on its own past tells how often one comes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Silence:
    """How long a stream was still.

    Attributes:
        days: Since its last event, or since ``since`` where it had none.
        limit: Days from which on that is an alarm.
        rate: Share of days with an event so far; None: too few, and ``limit`` is the longest that is allowed.
        alarm: Whether it is one.
    """

    days: int
    limit: int
    rate: float | None
    alarm: bool


def silence(events: Sequence[date], since: date, today: date, shortest: int, longest: int) -> Silence:
    """Returns whether a stream has been still for longer than its own past explains.

    Days count, not events, as labels come by the file. Where a day has an event with probability q, whatever the days
    before had, a gap of d days comes with ``(1 - q)**d``; the limit is where that is one in a thousand, not less than
    ``shortest`` days (a weekend, a holiday) nor more than ``longest``.

    Args:
        events: Days of all events so far, in any order.
        since: First day on which an event could have come.
        today: Day of the look.
        shortest: Days.
        longest: Days.
    """
    last = max(events, default=since)
    active, span = len(set(events)), max(1, (last - since).days + 1)
    rate = active / (span + 1) if active >= FEWEST else None
    limit = longest if rate is None else min(longest, max(shortest, math.ceil(math.log(CHANCE) / math.log1p(-rate))))
    days = (today - last).days
    return Silence(days, limit, rate, days >= limit)
