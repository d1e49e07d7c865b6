"""What a manifest says of each patient, for counting patients by subgroup inside the site."""

from __future__ import annotations

from common.data.manifest import Dataset

SEVERAL = "several"


def patient_attributes(dataset: Dataset) -> dict[str, dict[str, str]]:
    """Returns patient -> attribute -> value; ``several`` where the patient's images differ."""
    found: dict[str, dict[str, str]] = {}
    for patient, records in dataset.patients().items():
        names = {name for record in records for name in record.attributes}
        values = {name: {record.attributes.get(name, "") for record in records} for name in sorted(names)}
        found[patient] = {name: min(seen) if len(seen) == 1 else SEVERAL for name, seen in values.items()}
    return found
