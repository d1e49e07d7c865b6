"""Many departments, each with each change, before each detector."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from simulations.analysis.drift.detectors import monitor, river, summary
from simulations.analysis.drift.exams import A_WEEK, BEFORE, CHANGES, make_exams


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how often.

    Attributes:
        runs: Departments.
        reference: Exams of the frozen reference.
        before: Weeks from the reference to the change.
        after: Weeks after it.
        seed: Of all.
    """

    runs: int = 200
    reference: int = 200
    before: int = 16
    after: int = 26
    seed: int = 0

    @property
    def change(self) -> float:
        """Day of the change, from the first exam after the reference."""
        return self.before * 7.0


def drift_table(plan: Plan, done: Callable[[int], None]) -> list[dict[str, Any]]:
    """Returns a row for each change and detector: ``false_alarms``, ``seen``, ``days`` (median delay; None: never).

    ``false_alarms`` is the share of runs with an alarm before the change; the other two are of the rest.
    """
    alarms: dict[tuple[str, str], list[float]] = {}
    for run in range(plan.runs):
        rng = np.random.default_rng([plan.seed, run])
        frozen = make_exams(BEFORE, plan.reference, 0.0, rng)
        before = make_exams(BEFORE, plan.before * A_WEEK, 0.0, rng)
        detectors = {**monitor(frozen), **river()}
        for name, department in CHANGES.items():
            exams = before + make_exams(department, plan.after * A_WEEK, plan.change, rng)
            for detector, first_alarm in detectors.items():
                alarms.setdefault((name, detector), []).append(first_alarm(exams))
        done(run + 1)
    return [
        {"change": name, "detector": detector, **_figures(found, plan)} for (name, detector), found in alarms.items()
    ]


def _figures(found: list[float], plan: Plan) -> dict[str, Any]:
    seen = summary(found, plan.change)
    return {"false_alarms": seen.false, "seen": seen.seen, "days": seen.delay}
