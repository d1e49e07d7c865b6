"""The site's monitor and river's detectors on the same exams: the day of the first alarm of each."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np

from common.errors import ConfigError
from common.monitoring.cusum import Chart, Reference, chart, watch
from common.monitoring.eprocess import bet
from common.monitoring.rules import Rules
from common.monitoring.shift import Column, compared, in_a_row
from common.monitoring.silence import silence
from simulations.analysis.drift.exams import A_WEEK, Exams

RULES = Rules(miss_rate=0.10, false_positive_rate=0.40, run_length=4000.0)
"""Of the monitor: rates a little above those of the time before, 0.07 and 0.29."""
Detector = Callable[[Exams], float]
"""Returns the day of its first alarm; infinite where there is none."""
_START = date(2026, 1, 5)


def monitor(frozen: Exams) -> Mapping[str, Detector]:
    """Returns the monitor's streams, with ``frozen`` as the reference."""
    charts = {name: _charts(frozen, name) for name in ("above", "probability")}
    return {
        "input: KS, chi-square, BH, two windows": lambda exams: _input(frozen, exams),
        "score: CUSUM": lambda exams: min(_score(exams, name, *found) for name, found in charts.items()),
        "outcome: betting e-process": _outcome,
        "labels: silence": _silence,
    }


def river() -> Mapping[str, Detector]:
    """Returns detectors of the library river with its defaults: on the probabilities, and ADWIN on the errors.

    Its KSWIN makes a test after each exam, which takes hundreds of times as long, so it is left out.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        drift: Any = importlib.import_module("river.drift")
    except ModuleNotFoundError:
        raise ConfigError("The library river is missing; install it with: pip install 'river>=0.26'") from None
    return {
        "river ADWIN on probability": lambda exams: _first(drift.ADWIN(), exams.probability, exams.day),
        "river Page-Hinkley on probability": lambda exams: _first(drift.PageHinkley(), exams.probability, exams.day),
        "river ADWIN on errors": lambda exams: _first(drift.ADWIN(), *_errors(exams)),
    }


def _charts(frozen: Exams, name: str) -> tuple[Reference, Chart, Chart]:
    values = getattr(frozen, name).astype(float).tolist()
    reference = Reference.of_rate(values) if name == "above" else Reference.of(values)
    up, down = (chart(reference, RULES.run_length * 4, rises=rises) for rises in (True, False))
    return reference, up, down


def _score(exams: Exams, name: str, reference: Reference, up: Chart, down: Chart) -> float:
    found = watch(getattr(exams, name).astype(float).tolist(), reference, up, down)
    return math.inf if found is None else float(exams.day[found.at - 1])


def _input(frozen: Exams, exams: Exams) -> float:
    reference, rows = _columns(frozen, slice(None)), []
    for start in range(0, len(exams.day) - A_WEEK + 1, A_WEEK):
        rows.append(compared(reference, _columns(exams, slice(start, start + A_WEEK)), RULES.level))
        if in_a_row(rows[-2:]):
            return float(exams.day[start + A_WEEK - 1])
    return math.inf


def _columns(exams: Exams, part: slice) -> dict[str, Column]:
    return {**{name: values[part].tolist() for name, values in exams.looks.items()},
            "device": exams.device[part].tolist()}  # fmt: skip


def _outcome(exams: Exams) -> float:
    known = _by_arrival(exams)
    found = []
    for malignant, tolerated in ((True, RULES.miss_rate), (False, RULES.false_positive_rate)):
        assert tolerated is not None
        chosen = known[exams.malignant[known] == malignant]
        errors = (exams.above[chosen] != malignant).astype(int).tolist()
        alarm = bet(errors, tolerated, RULES.alpha / 2).alarm
        found.append(math.inf if alarm is None else float(exams.labelled[chosen[alarm - 1]]))
    return min(found)


def _silence(exams: Exams) -> float:
    """Looks once a day at the labels that have come by then."""
    arrivals = np.sort(exams.labelled[np.isfinite(exams.labelled)])
    days = [_START + timedelta(days=int(day)) for day in arrivals]
    for day in range(math.ceil(arrivals[9]) if len(arrivals) > 9 else 0, int(exams.day[-1]) + 1):
        so_far = days[: int(np.searchsorted(arrivals, day))]
        if silence(so_far[-200:], min(so_far[-200:], default=_START), _START + timedelta(days=day),
                   RULES.shortest_silence, RULES.longest_label_silence).alarm:  # fmt: skip
            return float(day)
    return math.inf


def _errors(exams: Exams) -> tuple[Any, Any]:
    known = _by_arrival(exams)
    return (exams.above[known] != exams.malignant[known]).astype(float), exams.labelled[known]


def _by_arrival(exams: Exams) -> Any:
    known = np.flatnonzero(np.isfinite(exams.labelled))
    return known[np.argsort(exams.labelled[known], kind="stable")]


def _first(detector: Any, values: Any, days: Any) -> float:
    for value, day in zip(values.tolist(), days.tolist(), strict=True):
        detector.update(value)
        if detector.drift_detected:
            return float(day)
    return math.inf


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """Of many runs: share that alarmed before the change, share of the others that saw it, their median delay in days.

    Attributes:
        delay: None: no run saw it.
    """

    false: float
    seen: float
    delay: float | None


def summary(alarms: list[float], change: float) -> Seen:
    """Returns what the first alarms (R,) of runs say about a change at day ``change``."""
    rest = [day for day in alarms if day >= change]
    delays = [day - change for day in rest if math.isfinite(day)]
    return Seen(
        false=1 - len(rest) / len(alarms),
        seen=len(delays) / len(rest) if rest else 0.0,
        delay=float(np.median(delays)) if delays else None,
    )
