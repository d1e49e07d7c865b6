"""Splits: a cover by patient, repeatable, by each patient alone, with the shares in expectation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.data.manifest import Dataset, Record
from common.data.splits import place_of, split_by_patient
from common.errors import DataError

ENOUGH = 60
"""Patients of a class with whom a split lacks none: 0.85 to the 60th is below 1e-4."""


def cohort(benign: int, malignant: int, images: int = 2) -> Dataset:
    labels = [0] * benign + [1] * malignant
    records = tuple(Record(f"{p}/{n}", f"p{p}", label) for p, label in enumerate(labels) for n in range(images))
    return Dataset("cohort", records, read=lambda key: np.zeros((1, 1), np.float32))


def split(dataset: Dataset, seed: int = 0, train: float = 0.7, val: float = 0.15) -> Dataset:
    return split_by_patient(dataset, seed=seed, train_share=train, val_share=val)


@given(st.integers(3, 80), st.integers(3, 80), st.integers(0, 2**31 - 1))
def test_every_patient_is_in_one_split_and_a_split_without_a_class_is_refused(
    benign: int, malignant: int, seed: int
) -> None:
    labels = [0] * benign + [1] * malignant
    expected = {(place_of(f"p{p}", seed, 0.7, 0.15), label) for p, label in enumerate(labels)}
    if len(expected) < 6:
        with pytest.raises(DataError, match="has no"):
            split(cohort(benign, malignant), seed)
        return
    done = split(cohort(benign, malignant), seed)
    places = {patient: {record.split for record in records} for patient, records in done.patients().items()}
    assert all(len(place) == 1 for place in places.values())
    assert {(record.split, record.label) for record in done.records} == expected


@given(st.text(min_size=1), st.integers(0, 2**62), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_a_larger_share_of_training_takes_patients_from_the_others_only(
    patient: str, seed: int, train: float, val: float
) -> None:
    assume(train + val < 0.97)
    before = place_of(patient, seed, train, val)
    after = place_of(patient, seed, train + (1 - train - val) / 2, val)
    assert before != "train" or after == "train"


def test_shares_hold_in_expectation() -> None:
    places = [place_of(f"patient {index}", 5, 0.7, 0.15) for index in range(20_000)]
    for name, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        # Five standard deviations of a binomial share.
        assert places.count(name) / 20_000 == pytest.approx(share, abs=5 * (share * (1 - share) / 20_000) ** 0.5)


def test_the_seed_decides_and_the_order_of_the_files_does_not() -> None:
    dataset = cohort(ENOUGH, ENOUGH)
    shuffled = dataset.with_records(reversed(dataset.records))
    assert {r.image: r.split for r in split(dataset).records} == {r.image: r.split for r in split(shuffled).records}
    assert split(dataset, seed=1).records != split(dataset, seed=2).records


def test_an_identifier_is_the_same_however_its_accents_are_composed() -> None:
    assert all(place_of("Bj\u00f6rk", s, 0.7, 0.15) == place_of("Bjo\u0308rk", s, 0.7, 0.15) for s in range(50))


def test_a_published_split_is_kept() -> None:
    dataset = split(cohort(ENOUGH, ENOUGH), seed=5)
    assert split(dataset, seed=6).records == dataset.records


def test_half_a_split_or_a_poor_split_are_refused() -> None:
    with pytest.raises(DataError, match=r"offer more patients.*fill the split column"):
        split(cohort(ENOUGH, 2))
    done = split(cohort(ENOUGH, ENOUGH))
    half = [
        record if record.split == "train" else Record(record.image, record.patient, record.label)
        for record in done.records
    ]
    with pytest.raises(DataError, match=f"of {4 * ENOUGH} records have a split"):
        split(done.with_records(half))
    with pytest.raises(DataError, match="no malignant in val"):
        split(done.with_records(r for r in done.records if (r.split, r.label) != ("val", 1)))
