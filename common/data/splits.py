"""Train, validation and test by patient, stratified by class.

A patient's place follows from a hash of seed and patient id, so a patient who joins a cohort later moves nobody
but a few at the borders.
"""

from __future__ import annotations

import dataclasses
import hashlib

from common.data.manifest import SPLITS, Dataset
from common.errors import DataError

CLASSES = {1: "malignant", 0: "benign"}


def split_by_patient(dataset: Dataset, *, seed: int, train_share: float, val_share: float) -> Dataset:
    """Returns the data set with every record in train, val or test; all images of a patient in the same.

    Each class is divided by the shares, at least one patient a split. A published split is kept when every
    record has one.

    Raises:
        DataError: A class has fewer than three patients, only some records have a split, or a published split
            lacks a class.
    """
    with_split = sum(bool(record.split) for record in dataset.records)
    if with_split == len(dataset.records):
        return _kept(dataset)
    if with_split:
        raise DataError(
            f"{dataset.name}: {with_split} of {len(dataset.records)} records have a split; "
            "fill the split column in every line, or leave it empty in all"
        )
    place: dict[str, str] = {}
    labels = dataset.labels_by_patient()
    for label, word in CLASSES.items():
        patients = [patient for patient, own in labels.items() if own == label]
        place |= _divide(dataset.name, word, _shuffled(patients, seed), train_share, val_share)
    return dataset.with_records(dataclasses.replace(record, split=place[record.patient]) for record in dataset.records)


def _kept(dataset: Dataset) -> Dataset:
    present = {(record.split, record.label) for record in dataset.records}
    lacking = [
        f"{word} in {split}" for split in SPLITS for label, word in CLASSES.items() if (split, label) not in present
    ]
    if lacking:
        raise DataError(
            f"The split of {dataset.name} has no {', no '.join(lacking)}; expected both classes in each. "
            "Change the split column, or empty it to have patients split for you"
        )
    return dataset


def _divide(name: str, word: str, patients: list[str], train_share: float, val_share: float) -> dict[str, str]:
    total = len(patients)
    if total < len(SPLITS):
        raise DataError(
            f"{name} has {total} {word} patients; expected at least {len(SPLITS)}, one each for train, val and test"
        )
    test = max(1, round(total * (1 - train_share - val_share)))
    val = max(1, min(round(total * val_share), total - test - 1))
    test = min(test, total - val - 1)
    borders = ["test"] * test + ["val"] * val + ["train"] * (total - test - val)
    return dict(zip(patients, borders, strict=True))


def _shuffled(patients: list[str], seed: int) -> list[str]:
    return sorted(patients, key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).digest())
