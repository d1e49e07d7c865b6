"""Checks of groups of patients: by scanner, site, view or what else the manifest's columns say."""

from __future__ import annotations

from collections import Counter, defaultdict

from common.data.attributes import patient_attributes
from common.data.checks.finding import Finding
from common.data.checks.suppression import Told, told_cells
from common.data.manifest import Dataset
from common.errors import DataError

MOST_VALUES = 12
"""A column with more values is no grouping."""
LEAST_TEST = 10
"""Test patients of a group under which no figure can be told for it."""
MANY = 20
"""Patients of a group from which it is odd that all have one label."""
DIAGNOSES = frozenset({"birads", "bi_rads", "histology", "pathology", "finding", "diagnosis", "subtype", "grade"})
"""Columns that say what the lesion is, so that their groups have one label."""
FIXES = {
    "subgroup-small": "Fairness cannot be judged for them here; the consortium may have enough together.",
    "subgroup-one-class": "A model can learn the group instead of the lesion: offer both classes of it, or neither.",
}


def check_subgroups(dataset: Dataset) -> list[Finding]:
    """Returns groups too small to be judged, and groups that give the label away; ``count`` is of groups."""
    found = {"subgroup-small": _small(dataset), "subgroup-one-class": _one_class(dataset)}
    whats = {
        "subgroup-small": f"groups of patients with fewer than {LEAST_TEST} in the test",
        "subgroup-one-class": f"groups of {MANY} patients or more, all benign or all malignant",
    }
    return [
        Finding(code=code, severity="note" if code == "subgroup-small" else "warning", count=len(names),
                what=whats[code], records=tuple(names), fix=FIXES[code])
        for code, names in found.items() if names
    ]  # fmt: skip


def told_subgroup(dataset: Dataset, column: str, min_cell: int) -> Told:
    """Returns the patients in each group of a column, None where it is small or gives a small one away.

    Raises:
        DataError: The column is not there, or has too many values to be a grouping; names may stand in it.
    """
    values = [row.get(column, "") for row in patient_attributes(dataset).values()]
    if not any(values) or len(set(values)) > MOST_VALUES:
        known = ", ".join(sorted(_groupings(dataset))) or "none"
        raise DataError(f"{column} is no column of 1 to {MOST_VALUES} different values; these are: {known}")
    return told_cells(Counter(value or "unknown" for value in values), min_cell)


def _groupings(dataset: Dataset) -> dict[str, dict[str, list[str]]]:
    """Returns column -> value -> patients, for columns of two values to :data:`MOST_VALUES`."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for patient, row in patient_attributes(dataset).items():
        for column, value in row.items():
            if value:
                found[column][value].append(patient)
    return {column: dict(groups) for column, groups in found.items() if 2 <= len(groups) <= MOST_VALUES}


def _small(dataset: Dataset) -> list[str]:
    test = {record.patient for record in dataset.records if record.split == "test"}
    return [
        f"{column}={value}"
        for column, groups in sorted(_groupings(dataset).items())
        for value, patients in sorted(groups.items())
        if test and len(test.intersection(patients)) < LEAST_TEST
    ]


def _one_class(dataset: Dataset) -> list[str]:
    labels = dataset.labels_by_patient()
    return [
        f"{column}={value}"
        for column, groups in sorted(_groupings(dataset).items())
        for value, patients in sorted(groups.items())
        if column.lower() not in DIAGNOSES and len(patients) >= MANY and len({labels[name] for name in patients}) == 1
    ]
