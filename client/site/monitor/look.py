"""The monitor of a site: its records and labels, judged; and the one step down that the model takes by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from client.site.lifecycle.registry import SiteRegistry
from client.site.monitor.labels import FOLDER, known_labels
from client.site.monitor.references import current
from client.site.packages import RECORDS
from common.errors import ConfigError
from common.inference.record import InferenceRecord, records
from common.monitoring.alarm import Alarm, Stream
from common.monitoring.labels import Label
from common.monitoring.outcome import verified
from common.monitoring.reference import FrozenReference, day_of, one_an_exam
from common.monitoring.rules import FILE, Rules, read_rules
from common.monitoring.streams import Watched, watch_input, watch_outcome, watch_score, watch_silence, weeks
from common.notice import RESEARCH_USE
from common.trust.registry import IN_USE, Move, Registry, lowered

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the monitor looks at: the model, its exams, the labels, the frozen reference, and the site's rules."""

    registry: Registry
    model: str
    exams: tuple[InferenceRecord, ...]
    labels: tuple[Label, ...]
    reference: FrozenReference | None
    rules: Rules
    torn: bool

    @property
    def after(self) -> list[InferenceRecord]:
        """Exams after the reference, all where there is none."""
        return [one for one in self.exams if self.reference is None or day_of(one) > self.reference.last]


def monitor(home: Path, now: datetime, *, move: bool = True) -> dict[str, Any]:
    """Returns the three streams of the model in use, their alarms, and the state of the model after this look.

    Args:
        home: The site's folder.
        now: Time of the look, with a time zone.
        move: Whether new alarms and an expired validation move the model down; never up.

    Raises:
        ConfigError: No model is or was in use here.
        DataError, TrustError: Records, labels, the journal or the reference are damaged.
    """
    seen = look(home)
    streams = [_with_silence(one, seen, now.astimezone(UTC).date()) for one in _streams(seen)]
    expired = _expired(home, seen.model, now)
    registry, step = _step(home, seen, streams, expired, now) if move else (seen.registry, None)
    return _document(dataclasses.replace(seen, registry=registry), streams, expired, step, now)


def look(home: Path) -> Seen:
    """Returns what there is to look at. Raises as :func:`monitor`."""
    registry = SiteRegistry(home).read()
    model = registry.active or next(reversed(registry.packages("suspended")), None)
    if model is None:
        raise ConfigError("No model is in use at this site; see: oncofed-site model history")
    kept = records(home / RECORDS)
    exams = one_an_exam(one for one in kept.records if one.model == model and one.state == "active")
    rules = read_rules(home / FOLDER / FILE)
    return Seen(registry, model, tuple(exams), known_labels(home), current(home), rules, kept.torn)


def affected(home: Path, start: str) -> list[InferenceRecord]:
    """Returns the exams that a release answered, the latest record of each, whatever state it was in.

    Raises:
        ConfigError: No release, or more than one, of the records begins so.
    """
    found = records(home / RECORDS).records
    digests = sorted({one.model for one in found if start and one.model.startswith(start)})
    if len(digests) != 1:
        raise ConfigError(f"{len(digests)} releases in the records begin with {start!r}")
    return one_an_exam(one for one in found if one.model == digests[0])


def _streams(seen: Seen) -> tuple[Watched, Watched, Watched]:
    outcome = watch_outcome(seen.exams, seen.labels, seen.rules, _since(seen))
    if seen.reference is None or seen.reference.model != seen.model:
        why = "no reference is frozen" if seen.reference is None else "the reference is of another model"
        note = f"Not tested: {why}. Freeze one with: oncofed-site monitor re-reference"
        return Watched("input", (), (), (note,), ()), Watched("score", (), (), (note,), ()), outcome
    after = seen.after
    return watch_input(seen.reference, after, seen.rules), watch_score(seen.reference, after, seen.rules), outcome


def _with_silence(one: Watched, seen: Seen, today: date) -> Watched:
    """Returns the stream with its silence; of a suspended model silence is what was wanted."""
    if seen.registry.state(seen.model) not in IN_USE:
        return one
    claim, alarm = watch_silence(one.stream, _days(one.stream, seen), _since(seen), today, seen.rules)
    return dataclasses.replace(one, claims=(*one.claims, claim), alarms=(*one.alarms, *([alarm] if alarm else [])))


def _days(stream: Stream, seen: Seen) -> list[date]:
    since, exams = _since(seen), {one.exam for one in seen.exams}
    if stream == "outcome":
        days = [label.seen for label in seen.labels if label.exam in exams]
    else:
        days = [day_of(one) for one in seen.exams if stream == "input" or not one.abstained]
    return [day for day in days if day >= since]


def _since(seen: Seen) -> date:
    active = [one.time for one in seen.registry.moves if one.package == seen.model and one.to == "active"]
    return date.fromisoformat(max(active)[:10])


def _expired(home: Path, model: str, now: datetime) -> bool:
    from client.site.packages import KeptPackages
    from common.inference.manifest import read_manifest

    folder = KeptPackages(home).path / model
    return folder.is_dir() and now >= read_manifest(folder).expires


def _step(
    home: Path, seen: Seen, streams: Sequence[Watched], expired: bool, now: datetime
) -> tuple[Registry, Move | None]:
    """Returns the registry after the step, and the step; none if people have put another model into use meanwhile."""
    alarms = [_known_by(alarm, seen) for stream in streams for alarm in stream.alarms]
    with SiteRegistry(home).moving() as move:
        registry = move.registry()
        if registry.active != seen.model:
            return registry, None
        step = lowered(registry, alarms, expired, now.isoformat(timespec="seconds"))
        return (registry, None) if step is None else (move(step), step)


def _known_by(alarm: Alarm, seen: Seen) -> str:
    """Returns what an alarm is known by: another silence, reference or time in use makes it another one."""
    stream = alarm.claim.stream
    if alarm.claim.measure == "silence":
        return f"{alarm.key} since {max(_days(stream, seen), default=_since(seen))}"
    if stream == "outcome" or seen.reference is None:
        return f"{alarm.key} since {_since(seen)}"
    return f"{alarm.key} since {seen.reference.last}"


def _document(
    seen: Seen, streams: Sequence[Watched], expired: bool, step: Move | None, now: datetime
) -> dict[str, Any]:
    registry = seen.registry
    exams = {one.exam for one in seen.exams}
    return {
        "schema_version": SCHEMA_VERSION, "notice": RESEARCH_USE, "made": now.isoformat(timespec="seconds"),
        "model": seen.model, "state": registry.state(seen.model), "expired": expired,
        "moved": None if step is None else step.to_json(),
        "reference": None if seen.reference is None else {
            "digest": seen.reference.digest, "first": str(seen.reference.first), "last": str(seen.reference.last),
            "exams": seen.reference.exams},
        "exams": len(seen.exams), "abstained": sum(one.abstained for one in seen.exams), "torn_record": seen.torn,
        "labels": len(seen.labels), "labels_of_unknown_exams": len({x.exam for x in seen.labels} - exams),
        "weeks": _weeks(seen.exams), "verified": verified(seen.exams, seen.labels),
        "alarms": sum(len(one.alarms) for one in streams), "streams": [one.to_json() for one in streams],
        "moves": [one.to_json() for one in registry.moves if one.package == seen.model],
    }  # fmt: skip


def _weeks(exams: Sequence[InferenceRecord]) -> list[dict[str, Any]]:
    rows = []
    for week in weeks(exams, 1):
        answered = [one for one in week if not one.abstained]
        rows.append({
            "week": "{}-W{:02d}".format(*day_of(week[0]).isocalendar()[:2]), "exams": len(week),
            "abstained": len(week) - len(answered),
            "above": sum(bool(one.above_threshold) for one in answered),
            "mean_probability": sum(one.probability or 0.0 for one in answered) / len(answered) if answered else None,
        })  # fmt: skip
    return rows
