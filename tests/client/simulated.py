"""Records and labels of a simulated department, as a site would have them."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from client.site.lifecycle.agreements import PEOPLE, sign
from client.site.lifecycle.registry import SiteRegistry
from client.site.monitor.labels import add_labels
from client.site.monitor.references import freeze, propose_reference
from common.inference.record import InferenceRecord, append
from common.monitoring.labels import Label
from common.trust.registry import Move
from common.trust.signing import SiteKey
from simulations.analysis.drift.exams import BEFORE, CHANGES, Department, make_exams


def simulated_records(
    department: Department, count: int, start: datetime, model: str, seed: int, **changes: Any
) -> tuple[list[InferenceRecord], list[tuple[str, bool, str]]]:
    """Returns records from ``start`` on, and of each labelled exam its key, label and the day of the label."""
    rng = np.random.default_rng(seed)
    exams, records, labels = make_exams(department, count, 0.0, rng), [], []
    for at in range(count):
        exam, p = f"{seed}-{at}", float(exams.probability[at])
        fields: dict[str, Any] = {
            "record": UUID(bytes=rng.bytes(16), version=4).hex, "exam": exam, "patient": f"P{exam}", "taken": None,
            "made": start + timedelta(days=float(exams.day[at])), "model": model, "state": "active",
            "inputs": ("b" * 64,), "modality": "US", "manufacturer": None, "device": str(exams.device[at]),
            "probability": p, "logit": math.log(p / (1 - p)), "set": None, "threshold": department.threshold,
            "above_threshold": bool(exams.above[at]), "abstained": False, "reasons": (),
            "appearance": {name: float(values[at]) for name, values in exams.looks.items()}, "feature_distance": None,
            "versions": {}, "seconds": 0.1,
        }  # fmt: skip
        records.append(InferenceRecord(**(fields | changes)))
        if math.isfinite(exams.labelled[at]):
            day = (start + timedelta(days=float(exams.labelled[at]))).date()
            labels.append((exam, bool(exams.malignant[at]), str(day)))
    return records, labels


def keep(path: Path, records: list[InferenceRecord]) -> None:
    """Appends the records to a site's file."""
    for record in records:
        append(path, record)


def write_csv(path: Path, labels: list[tuple[str, bool, str]], until: datetime, source: str = "biopsy") -> Path:
    """Writes the labels that are known by then as a CSV, and returns its path."""
    rows = [f"{exam},{'malignant' if malignant else 'benign'},{source},{day}" for exam, malignant, day in labels
            if day <= str(until.date())]  # fmt: skip
    path.write_text("\n".join(["accession,label,source,date", *rows]) + "\n")
    return path


def at(text: str) -> datetime:
    """Returns that day at noon, UTC."""
    return datetime.fromisoformat(text).replace(hour=12, tzinfo=UTC)


def a_department(home: Path, model: str, *, scanner: bool) -> datetime:
    """Makes a site with a model in use, a frozen reference, exams and labels; returns when to look.

    With ``scanner`` the scanner changes in the last eight weeks.
    """
    start = at("2026-01-05")
    _put_into_use(home, model)
    before, known = simulated_records(BEFORE, 240, start, model, 1)
    after = CHANGES["scanner"] if scanner else BEFORE
    later, more = simulated_records(after, 320, start + timedelta(days=43), model, 2)
    keep(home / "records.jsonl", [*before, *later])
    look = start + timedelta(days=99)
    told = [Label(exam=exam, malignant=bad, source="biopsy", day=look.date(), seen=date.fromisoformat(day))
            for exam, bad, day in [*known, *more] if day <= str(look.date())]  # fmt: skip
    add_labels(home, sorted(told, key=lambda label: label.seen), {record.exam for record in [*before, *later]})
    (home / "monitor" / "monitor.yaml").write_text("miss_rate: 0.10\nfalse_positive_rate: 0.40\n")
    name, _ = propose_reference(home, model, start.date(), (start + timedelta(days=42)).date())
    for person in ("anna", "ben"):
        sign(home, name, person, home / f"{person}.key")
    freeze(home, name)
    return look


def _put_into_use(home: Path, model: str) -> None:
    lines = [f'{name}: "{SiteKey.open(home / f"{name}.key").public_hex}"' for name in ("anna", "ben")]
    (home / PEOPLE).write_text("\n".join(lines))
    shadow = Move(package=model, to="shadow", cause="person", by=("anna",), time="2026-01-01T09:00:00+00:00", gate="g")
    active = dataclasses.replace(shadow, to="active", cause="gate", by=("anna", "ben"), agreement="signed")
    with SiteRegistry(home).moving() as move:
        move(shadow, active)
