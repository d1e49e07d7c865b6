"""Tensors by patient: order, memory layout, and a count of what could not be read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.config.study import DataConfig
from common.data.loading import PatientTensors, to_tensors
from common.data.manifest import Dataset, Record
from common.errors import ConfigError, DataError

CONFIG = DataConfig(name="manifest", image_size=8)


def numbered(key: str) -> NDArray[np.float32]:
    """An image whose grey is its number / 10."""
    if key.startswith("bad"):
        raise DataError("damaged")
    return np.full((5, 5), int(key) / 10, np.float32)


def dataset(*keys: tuple[str, str, int]) -> Dataset:
    return Dataset("x", tuple(Record(image, patient, label) for image, patient, label in keys), read=numbered)


def test_rows_are_grouped_by_patient_and_keep_their_labels() -> None:
    tensors = to_tensors(dataset(("1", "b", 1), ("2", "a", 0), ("3", "b", 1)), CONFIG)
    assert tensors.inputs.shape == (3, 1, 8, 8) and tensors.inputs.dtype == torch.float32
    assert tensors.patients == ("a", "b")
    assert tensors.patient_of.tolist() == [0, 1, 1]
    assert tensors.labels.tolist() == [0, 1, 1]
    assert tensors.patient_labels().tolist() == [0, 1]
    assert torch.allclose(tensors.inputs[:, 0, 4, 4], torch.tensor([-0.6, -0.8, -0.4]), atol=1e-6)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_rows_of_patients_are_theirs(owners: list[int]) -> None:
    ids = sorted(set(owners))
    patient_of = torch.tensor([ids.index(owner) for owner in owners])
    tensors = PatientTensors(torch.zeros(len(owners), 2), torch.zeros(len(owners)), patient_of, tuple(map(str, ids)))
    wanted = torch.arange(tensors.num_patients).flip(0)
    for patient, rows in zip(wanted, tensors.rows_of(wanted), strict=True):
        assert torch.equal(rows, torch.nonzero(patient_of == patient)[:, 0])
    assert tensors.rows_of(torch.tensor([], dtype=torch.int64)) == []


def test_unreadable_images_are_counted_and_the_first_named() -> None:
    broken = dataset(*((f"bad{n}", f"p{n}", 0) for n in range(5)), ("1", "q", 1))
    with pytest.raises(DataError, match=r"5 of 6 images of x cannot be used: bad0: damaged, .*and 2 more"):
        to_tensors(broken, CONFIG)


def test_tables_keep_their_columns() -> None:
    rows = {"0": np.array([0.0, 0.5, 1.0], np.float32), "1": np.array([0.25, 2.0, -1.0], np.float32)}
    table = Dataset("t", (Record("0", "a", 0), Record("1", "b", 1)), read=rows.__getitem__, kind="table", features=3)
    tensors = to_tensors(table, DataConfig(name="wdbc", image_size=0))
    assert tensors.inputs.tolist() == [[-1.0, 0.0, 1.0], [-0.5, 1.0, -1.0]]


def test_images_need_a_size() -> None:
    with pytest.raises(ConfigError, match="image_size"):
        to_tensors(dataset(("1", "a", 0)), DataConfig(name="manifest", image_size=0))


@pytest.mark.parametrize(
    ("labels", "patient_of", "patients"),
    [([0.0], [0, 0], ("a",)), ([0.0, 1.0], [0, 0], ("a",)), ([0.0, 1.0], [0, 1], ("a", "b", "c"))],
)
def test_tensors_that_do_not_belong_together_do_not_construct(
    labels: list[float], patient_of: list[int], patients: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="Expected"):
        PatientTensors(torch.zeros(2, 3), torch.tensor(labels), torch.tensor(patient_of), patients)
