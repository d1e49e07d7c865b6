"""The streams of one model at one site, judged: what each test promises, what alarmed, and what could not be tested."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date
from itertools import groupby
from typing import Any

from common.errors import DataError
from common.inference.record import InferenceRecord
from common.monitoring.alarm import Alarm, Claim, Stream
from common.monitoring.cusum import Reference, chart, smallest_shift, watch
from common.monitoring.labels import Label
from common.monitoring.outcome import judged, not_judged, outcomes
from common.monitoring.reference import FrozenReference, columns_of, day_of, one_a_patient
from common.monitoring.rules import Rules
from common.monitoring.shift import Measured, compared, in_a_row, in_deviations, smallest_distance, smallest_move
from common.monitoring.silence import CHANCE, silence

CHARTS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Watched:
    """One stream.

    Attributes:
        claims: What each of its tests promises.
        alarms: Of these tests.
        notes: What could not be tested, and why.
        figures: Rows for a person, as JSON values.
    """

    stream: Stream
    claims: tuple[Claim, ...]
    alarms: tuple[Alarm, ...]
    notes: tuple[str, ...]
    figures: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {
            "stream": self.stream, "alarms": [alarm.to_json() for alarm in self.alarms],
            "claims": [dataclasses.asdict(claim) for claim in self.claims], "notes": list(self.notes),
            "figures": list(self.figures),
        }  # fmt: skip


def watch_input(reference: FrozenReference, records: Sequence[InferenceRecord], rules: Rules) -> Watched:
    """Returns the input stream: the exams after the reference by weeks, each measure against it.

    Args:
        reference: The frozen one.
        records: Of the same model, one an exam, in their order.
        rules: The site's.
    """
    windows = weeks(records, rules.window)
    rows = [compared(reference.columns(), columns_of(one_a_patient(window)), rules.level) for window in windows]
    alarms = [_input_alarm(rows[at], measure, windows[at], reference, rules) for measure, at in in_a_row(rows).items()]
    last = rows[-1] if rows else ()
    left = len(records) - sum(map(len, windows))
    notes = (f"{left} exams wait for their window of {rules.window} to fill up",) if left else ()
    figures = tuple(
        {"window": str(day_of(window[0])), "exams": len(window), "measure": one.measure, "p": one.p, "psi": one.psi,
         "rejected": one.rejected}
        for window, row in zip(windows, rows, strict=True) for one in row
    )  # fmt: skip
    claims = tuple(_input_claim(one, len(last), rules) for one in last)
    return Watched("input", claims, tuple(alarms), notes, figures)


def weeks(records: Sequence[InferenceRecord], least: int) -> list[list[InferenceRecord]]:
    """Returns the exams by calendar week, each window of ``least`` at least; those after the last are left out."""
    found: list[list[InferenceRecord]] = []
    window: list[InferenceRecord] = []
    for _, week in groupby(records, key=lambda record: day_of(record).isocalendar()[:2]):
        window += week
        if len(window) >= least:
            found.append(window)
            window = []
    return found


def watch_score(reference: FrozenReference, records: Sequence[InferenceRecord], rules: Rules) -> Watched:
    """Returns the score stream: share above the threshold, mean probability and abstentions, each by two charts.

    Arguments as of :func:`watch_input`.
    """
    answered = [record for record in records if not record.abstained]
    streams = {
        "share above threshold": ([float(bool(r.above_threshold)) for r in answered], reference.above, True),
        "mean probability": ([r.probability or 0.0 for r in answered], reference.probabilities, False),
        "abstention rate": ([float(r.abstained) for r in records], reference.abstained, True),
    }
    claims, alarms, notes, figures = [], [], [], []
    for measure, (values, frozen, rate) in streams.items():
        try:
            claim, alarm, row = _chart(measure, values, frozen, rules, rate=rate)
        except DataError as error:
            notes.append(f"{measure} is not tested: {error}")
            continue
        claims.append(claim)
        figures.append(row)
        alarms += [alarm] if alarm else []
    return Watched("score", tuple(claims), tuple(alarms), tuple(notes), tuple(figures))


def watch_outcome(records: Sequence[InferenceRecord], labels: Sequence[Label], rules: Rules, since: date) -> Watched:
    """Returns the outcome stream: by source of the labels, in the order in which they came.

    Its figures are of all labels; its tests begin anew on day ``since``, when people put the model into use.
    """
    claims, alarms = judged(outcomes(records, [label for label in labels if label.seen >= since]), rules)
    figures = tuple(one.to_json() for one in outcomes(records, labels))
    return Watched("outcome", claims, alarms, not_judged(rules), figures)


def watch_silence(
    stream: Stream, days: Sequence[date], since: date, today: date, rules: Rules
) -> tuple[Claim, Alarm | None]:
    """Returns what is promised of a stream's own silence, and the alarm if it is silent."""
    longest = rules.longest_label_silence if stream == "outcome" else rules.longest_silence
    found = silence(days, since, today, rules.shortest_silence, longest)
    sure = found.rate is not None and (1 - found.rate) ** found.limit <= CHANCE
    claim = Claim(
        stream=stream, measure="silence", rule="longest gap",
        false_alarms=f"at most {CHANCE:g} a gap, if days are independent" if sure
        else "not known: too few days with events for this limit, which is the site's own",
        smallest=f"a stop of {found.limit} days",
    )  # fmt: skip
    words = f"nothing for {found.days} days; {found.limit} are the limit"
    return claim, Alarm(claim=claim, found=words, at=str(today)) if found.alarm else None


def _input_claim(one: Measured, measures: int, rules: Rules) -> Claim:
    return Claim(
        stream="input", measure=one.measure, rule=f"{'chi-square' if one.words else 'Kolmogorov-Smirnov'}, two windows",
        false_alarms=f"at most {rules.level:g} a window over all measures (Benjamini-Hochberg); two in a row are rarer",
        smallest=f"{_smallest(one, rules.level / measures)}, in two windows of {one.window} exams with power 0.8",
    )  # fmt: skip


def _smallest(one: Measured, level: float) -> str:
    if one.words:
        move = smallest_move(one.reference, one.window, one.words, level)
        return f"a tag whose share moves by {move:.2f}" if move else "no move of a tag near one half"
    distance = smallest_distance(one.reference, one.window, level)
    shift = in_deviations(distance)
    return f"a shift of {shift:.2f} standard deviations" if shift else "no shift for sure"


def _input_alarm(
    row: Sequence[Measured], measure: str, window: Sequence[InferenceRecord], reference: FrozenReference, rules: Rules
) -> Alarm:
    one = next(found for found in row if found.measure == measure)
    words = f"p {one.p:.2g}, PSI {one.psi:.2f} against {reference.exams} exams up to {reference.last}"
    return Alarm(claim=_input_claim(one, len(row), rules), found=words, at=str(day_of(window[0])))


def _chart(
    measure: str, values: Sequence[float], frozen: Sequence[float], rules: Rules, *, rate: bool
) -> tuple[Claim, Alarm | None, dict[str, Any]]:
    reference = Reference.of_rate(frozen) if rate else Reference.of(frozen)
    asked = rules.run_length * 2 * CHARTS
    up, down = (chart(reference, asked, rises=rises) for rises in (True, False))
    shift = smallest_shift(reference, up.limit, max(1, len(values)), rises=True)
    claim = Claim(
        stream="score", measure=measure, rule="two-sided CUSUM",
        false_alarms=f"one in {rules.run_length:g} exams over all score charts in the mean, for nine references in ten",
        smallest=f"a rise by {shift * reference.sd:.2f} from {reference.mean:.2f}, in {len(values)} exams in the mean"
        if shift else f"no rise up to two standard deviations in {len(values)} exams",
    )  # fmt: skip
    mean = sum(values) / len(values) if values else None
    row = {"measure": measure, "exams": len(values), "mean": mean, "reference": reference.mean,
           "limits_sd": [up.limit / 10, down.limit / 10]}  # fmt: skip
    found = watch(values, reference, up, down)
    if found is None:
        return claim, None, row
    words = (
        f"{'rose' if found.rose else 'fell'} from {reference.mean:.2f} to about {found.mean:.2f}, since exam "
        f"{found.since + 1} or so"
    )
    return claim, Alarm(claim=claim, found=words, at=f"exam {found.at}"), row
