"""What a study's data hold once split and dealt out: plain counts, the same for the table, the JSON and the figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from common.data.manifest import SPLITS, Dataset, Record
from simulations.data.partition import describe

if TYPE_CHECKING:
    from common.config.study import StudyConfig

SCHEMA_VERSION = 1


def summarise_data(study: StudyConfig) -> dict[str, Any]:
    """Returns ``dataset``, ``total``, ``splits`` (name -> counts), ``sites`` (rows) and ``warnings``, JSON values.

    Raises:
        ConfigError, DataError: The data cannot be read, split or dealt out.
    """
    from simulations.data.sources import open_sites

    return summarise_sites(open_sites(study.data, study.partition, study.seed))


def summarise_sites(sites: dict[str, Dataset]) -> dict[str, Any]:
    """Returns the summary of sites that are already dealt out; see :func:`summarise_data`."""
    parts = list(sites.values())
    records = [record for part in parts for record in part.records]
    rows = describe(sites)
    return {
        "dataset": {
            "name": parts[0].name,
            "kind": parts[0].kind,
            "synthetic": parts[0].synthetic,
            "citation": parts[0].citation,
            "licence": parts[0].licence,
            "notes": list(parts[0].notes),
        },
        "total": _counts(records),
        "splits": {split: _counts(record for record in records if record.split == split) for split in SPLITS},
        "sites": rows,
        "warnings": [warning for row in rows for warning in _warnings(row)],
    }


def training_labels(summary: dict[str, Any]) -> dict[str, dict[str, int | None]]:
    """Returns site -> training patients ``malignant`` and ``benign``, as the label figure takes them."""
    return {row["site"]: {word: row[f"train_{word}"] for word in ("malignant", "benign")} for row in summary["sites"]}


def _counts(records: Iterable[Record]) -> dict[str, int]:
    labels: dict[str, int] = {}
    images = 0
    for record in records:
        labels[record.patient] = record.label
        images += 1
    malignant = sum(labels.values())
    return {"images": images, "patients": len(labels), "malignant": malignant, "benign": len(labels) - malignant}


def _warnings(row: dict[str, int | str]) -> Iterable[str]:
    for split, meaning in (
        ("train", "it will refuse to train"),
        ("val", "it has no validation AUROC of its own"),
        ("test", "it has no test AUROC of its own"),
    ):
        lacking = [word for word in ("malignant", "benign") if not row[f"{split}_{word}"]]
        if lacking:
            yield f"{row['site']} has no {' and no '.join(lacking)} {split} patient: {meaning}"
