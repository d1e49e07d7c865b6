"""Splits: a cover by patient, stratified, repeatable, and steady when patients join."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.manifest import Dataset, Record
from common.data.splits import split_by_patient
from common.errors import DataError


def cohort(benign: int, malignant: int, images: int = 2) -> Dataset:
    labels = [0] * benign + [1] * malignant
    records = tuple(Record(f"{p}/{n}", f"p{p}", label) for p, label in enumerate(labels) for n in range(images))
    return Dataset("cohort", records, read=lambda key: np.zeros((1, 1), np.float32))


def split(dataset: Dataset, seed: int = 0, train: float = 0.7, val: float = 0.15) -> Dataset:
    return split_by_patient(dataset, seed=seed, train_share=train, val_share=val)


@given(st.integers(3, 60), st.integers(3, 60), st.integers(0, 2**31 - 1), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_every_patient_is_in_one_split_and_every_class_in_all(
    benign: int, malignant: int, seed: int, train: float, val: float
) -> None:
    if train + val > 0.97:
        train, val = train / 2, val / 2
    done = split(cohort(benign, malignant), seed, train, val)
    places = {patient: {record.split for record in records} for patient, records in done.patients().items()}
    assert all(len(place) == 1 for place in places.values())
    assert {(record.split, record.label) for record in done.records} == {
        (name, label) for name in ("train", "val", "test") for label in (0, 1)
    }


def test_shares_hold_in_each_class() -> None:
    done = split(cohort(200, 100))
    for name, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        labels = done.in_split(name).labels_by_patient()
        assert sum(labels.values()) == pytest.approx(100 * share, abs=1)
        assert len(labels) == pytest.approx(300 * share, abs=2)


def test_the_seed_decides_and_the_order_of_the_files_does_not() -> None:
    dataset = cohort(30, 20)
    shuffled = dataset.with_records(reversed(dataset.records))
    assert {r.image: r.split for r in split(dataset).records} == {r.image: r.split for r in split(shuffled).records}
    assert split(dataset, seed=1).records != split(dataset, seed=2).records


def test_a_patient_who_joins_moves_few_others() -> None:
    before = {record.patient: record.split for record in split(cohort(200, 100)).records}
    after = {record.patient: record.split for record in split(cohort(200, 101)).records}
    # One more patient shifts each border of one class by one place at most.
    assert sum(before[patient] != after[patient] for patient in before) <= 3


def test_a_published_split_is_kept() -> None:
    dataset = split(cohort(10, 10), seed=5)
    assert split(dataset, seed=6).records == dataset.records


def test_too_few_patients_half_a_split_or_a_poor_split_are_refused() -> None:
    with pytest.raises(DataError, match="2 malignant patients"):
        split(cohort(9, 2))
    done = split(cohort(9, 9))
    half = [
        record if record.split == "train" else Record(record.image, record.patient, record.label)
        for record in done.records
    ]
    with pytest.raises(DataError, match="of 36 records have a split"):
        split(done.with_records(half))
    with pytest.raises(DataError, match="no malignant in val"):
        split(done.with_records(r for r in done.records if (r.split, r.label) != ("val", 1)))
