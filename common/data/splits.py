"""Train, validation and test by patient: each patient's place follows from a keyed hash of that patient alone.

So nobody's place depends on who else is in the cohort: removing or adding a patient moves no other, which is what
neighbouring data sets in differential privacy differ by. The price is that shares and classes hold in expectation only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import unicodedata

from common.data.manifest import SPLITS, Dataset
from common.errors import DataError

CLASSES = {1: "malignant", 0: "benign"}


def split_by_patient(dataset: Dataset, *, seed: int, train_share: float, val_share: float) -> Dataset:
    """Returns the data set with every record in train, val or test; all images of a patient in the same.

    A published split is kept when every record has one; else see :func:`place_of`.

    Raises:
        DataError: Only some records have a split, or a split lacks a class.
    """
    with_split = sum(bool(record.split) for record in dataset.records)
    if with_split == len(dataset.records):
        return _checked(dataset, "Change the split column, or empty it to have patients split for you")
    if with_split:
        raise DataError(
            f"{dataset.name}: {with_split} of {len(dataset.records)} records have a split; "
            "fill the split column in every line, or leave it empty in all"
        )
    place = {patient: place_of(patient, seed, train_share, val_share) for patient in dataset.labels_by_patient()}
    done = dataset.with_records(dataclasses.replace(record, split=place[record.patient]) for record in dataset.records)
    return _checked(
        done,
        "Each patient's place is decided by chance: offer more patients, enlarge the smaller shares, choose another "
        "split seed if no study has begun, or fill the split column yourself",
    )


def place_of(patient: str, seed: int, train_share: float, val_share: float) -> str:
    """Returns a patient's split: ``test`` below its share, then ``val``, then ``train``, of a uniform number.

    The number is HMAC-SHA256 of the identifier under the seed, as a fraction of its range. Who does not know the seed
    cannot foretell it; identifiers that differ only in how their accents are composed have the same.
    """
    name = unicodedata.normalize("NFC", patient)
    digest = hmac.digest(f"oncofed split {seed}".encode(), name.encode(), hashlib.sha256)
    number = int.from_bytes(digest[:8], "big") / 2**64
    test_share = 1 - train_share - val_share
    return "test" if number < test_share else "val" if number < test_share + val_share else "train"


def _checked(dataset: Dataset, remedy: str) -> Dataset:
    present = {(record.split, record.label) for record in dataset.records}
    lacking = [
        f"{word} in {split}" for split in SPLITS for label, word in CLASSES.items() if (split, label) not in present
    ]
    if lacking:
        raise DataError(
            f"The split of {dataset.name} has no {', no '.join(lacking)}; expected both classes in each. {remedy}"
        )
    return dataset
