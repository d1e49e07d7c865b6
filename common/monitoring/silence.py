"""A stream that nobody feeds is a fault, not a quiet week."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from datetime import date

CHANCE = 1e-3
"""That a gap as long as alarms comes about by chance."""


@dataclasses.dataclass(frozen=True, slots=True)
class Silence:
    """How long a stream was still.

    Attributes:
        days: Since its last event, or since ``since`` where it had none.
        limit: Days from which on that is an alarm.
        rate: Events a day so far; None: too few to tell, and ``limit`` is the longest that is allowed.
        alarm: Whether it is one.
    """

    days: int
    limit: int
    rate: float | None
    alarm: bool


def silence(events: Sequence[date], since: date, today: date, shortest: int, longest: int) -> Silence:
    """Returns whether a stream has been still for longer than its own past explains.

    Events that come independently at ``rate`` a day leave a gap of d days with a probability of ``exp(-rate d)``; the
    limit is where that is one in a thousand, not less than ``shortest`` days (a weekend, a holiday) nor more than
    ``longest``.

    Args:
        events: Days of all events so far, in any order.
        since: First day on which an event could have come.
        today: Day of the look.
        shortest: Days.
        longest: Days.
    """
    last = max(events, default=since)
    active = max(1, (last - since).days + 1)
    rate = len(events) / active if len(events) >= 10 else None
    limit = longest if rate is None else min(longest, max(shortest, math.ceil(-math.log(CHANCE) / rate)))
    days = (today - last).days
    return Silence(days, limit, rate, days >= limit)
