"""Records and labels of a simulated department, as a site would have them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from common.inference.record import InferenceRecord, append
from simulations.analysis.drift.exams import Department, make_exams


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
