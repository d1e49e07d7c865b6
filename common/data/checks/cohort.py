"""Checks of who is in a cohort: enough patients of both classes in every split, and identifiers that are patients."""

from __future__ import annotations

from collections.abc import Mapping

from common.data.checks.finding import Finding, Severity
from common.data.manifest import SPLITS, Dataset

MIN_OF_A_CLASS = {"train": 5, "val": 2, "test": 10}
"""Patients of a class; DeLong's interval needs 10 in the test."""
MANY = 20
"""Patients from which it is odd that none has two images."""


FIXES = {
    "class-missing": "Offer more patients; where no study has begun, another data.split_seed divides them anew.",
    "class-small": "Figures of so few mean little; offer more patients if there are any.",
    "too-few-patients": "Collect more, or ask for a study that needs fewer.",
    "patient-is-image": "Check that the patient column names women and not images: privacy and splits go by it.",
}


def check_cohort(dataset: Dataset, min_patients: int = 20) -> list[Finding]:
    """Returns what is wrong with the cohort's numbers; ``min_patients`` is the policy's."""
    counts = class_counts(dataset)
    found = [*_too_few(counts), *_one_image_each(dataset)]
    train = sum(counts["train"].values())
    if 0 < train < min_patients:
        found.append(_finding("too-few-patients", "error", f"training patients, fewer than {min_patients}", train))
    return found


def class_counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Returns patients by split and class, exact; patients without a split count as ``none``."""
    counts: dict[str, dict[str, int]] = {split: {"malignant": 0, "benign": 0} for split in SPLITS}
    for records in dataset.patients().values():
        row = counts.setdefault(records[0].split or "none", {"malignant": 0, "benign": 0})
        row["malignant" if records[0].label else "benign"] += 1
    return counts


def _too_few(counts: Mapping[str, Mapping[str, int]]) -> list[Finding]:
    found = []
    for split, least in MIN_OF_A_CLASS.items():
        for name, count in counts[split].items():
            if count == 0:
                found.append(_finding("class-missing", "error", f"split without a {name} patient: {split}", 1))
            elif count < least:
                what = f"{name} patients in {split}, fewer than {least}"
                found.append(_finding("class-small", "warning", what, count))
    return found


def _one_image_each(dataset: Dataset) -> list[Finding]:
    patients = dataset.patients()
    if dataset.kind == "table" or len(patients) < len(dataset.records) or len(patients) < MANY:
        return []
    return [_finding("patient-is-image", "warning", "patients, each with exactly one image", len(patients))]


def _finding(code: str, severity: Severity, what: str, count: int) -> Finding:
    return Finding(code=code, severity=severity, what=what, count=count, fix=FIXES[code], told=False)
