"""A data set as tensors grouped by patient: what training and evaluation see."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.data.cache import cached
from common.data.manifest import Dataset, first
from common.data.pixels.breast import crop_and_turn
from common.data.pixels.transforms import normalise, preprocess
from common.errors import ConfigError, DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig


@dataclasses.dataclass(frozen=True, eq=False)
class PatientTensors:
    """Network inputs with the patient each belongs to.

    Args:
        inputs: float32 (N, C, H, W) or (N, F), in [-1, 1].
        labels: float32 (N,), 1 malignant.
        patient_of: int64 (N,), index into ``patients``; every patient occurs, with one label.
        patients: P identifiers, which stay at the site.
    """

    inputs: Tensor
    labels: Tensor
    patient_of: Tensor
    patients: tuple[str, ...]

    def __post_init__(self) -> None:
        rows = len(self.inputs)
        if self.inputs.ndim not in (2, 4) or self.labels.shape != (rows,) or self.patient_of.shape != (rows,):
            shapes = [tuple(part.shape) for part in (self.inputs, self.labels, self.patient_of)]
            raise ValueError(f"Expected inputs (N, C, H, W) or (N, F), labels (N,), patient_of (N,), got {shapes}")
        if sorted(set(self.patient_of.tolist())) != list(range(self.num_patients)):
            raise ValueError(f"Expected patient_of to name each of {self.num_patients} patients")
        if not torch.equal(self.patient_labels()[self.patient_of], self.labels):
            raise ValueError("Expected one label a patient")

    @property
    def num_patients(self) -> int:
        return len(self.patients)

    def patient_labels(self) -> Tensor:
        """Returns float32 (P,), the label of each patient."""
        labels = torch.zeros(self.num_patients)
        labels[self.patient_of] = self.labels
        return labels

    def rows_of(self, patient_indices: Tensor) -> list[Tensor]:
        """Returns for each patient the int64 indices of its rows, ascending."""
        return [self._rows[index] for index in patient_indices.tolist()]

    @cached_property
    def _rows(self) -> tuple[Tensor, ...]:
        order = torch.argsort(self.patient_of, stable=True)
        counts = torch.bincount(self.patient_of, minlength=self.num_patients)
        return torch.split(order, counts.tolist())


def to_tensors(dataset: Dataset, data: DataConfig, cache: Path | None = None) -> PatientTensors:
    """Returns all records read, preprocessed and ordered by patient.

    4 * channels * image_size**2 bytes an image: on disk with a ``cache``, of which memory holds what is in use; else in
    memory.

    Args:
        dataset: Whose records.
        data: How they are preprocessed.
        cache: Folder of the cache (:mod:`common.data.cache`); None: none.

    Raises:
        DataError: Images cannot be read; says how many, and names the first few. Or the cache cannot be written.
        ConfigError: ``data.image_size`` is 0 although these are images.
    """
    if dataset.kind == "image" and data.image_size < 1:
        raise ConfigError(f"data.image_size=0 is for tables; {dataset.name} holds images: set data.image_size=64")
    groups = dataset.patients()
    records = [record for group in groups.values() for record in group]
    inputs = _inputs(dataset, [record.image for record in records], data, cache)
    patient_of = [index for index, group in enumerate(groups.values()) for _ in group]
    return PatientTensors(
        inputs=torch.from_numpy(inputs),
        labels=torch.tensor([float(record.label) for record in records]),
        patient_of=torch.tensor(patient_of, dtype=torch.int64),
        patients=tuple(groups),
    )


def _input(dataset: Dataset, key: str, data: DataConfig) -> NDArray[np.float32]:
    pixels = dataset.read(key)
    return normalise(pixels) if dataset.kind == "table" else network_input(pixels, data)


def network_input(pixels: NDArray[np.float32], data: DataConfig) -> NDArray[np.float32]:
    """Returns what a network gets of one image, float32 (C, S, S) in [-1, 1]: in training and in use, this is the way.

    Args:
        pixels: float32 (H, W) or (H, W, 3) in [0, 1], as they were read.
        data: Of it ``image_size``, ``channels`` and ``breast_crop``.

    Raises:
        DataError: The array is no image.
    """
    shown = crop_and_turn(pixels) if data.breast_crop else pixels
    return preprocess(shown, data.image_size, data.channels)


def _inputs(dataset: Dataset, keys: list[str], data: DataConfig, cache: Path | None) -> NDArray[np.float32]:
    size = (data.channels, data.image_size, data.image_size) if dataset.kind == "image" else (dataset.features,)
    shape = (len(keys), *size)
    if cache is not None:
        how = (dataset.name, data.breast_crop)
        return cached(cache, dataset, keys, how, shape, lambda rows: _fill(rows, dataset, keys, data))
    inputs = np.empty(shape, dtype=np.float32)
    _fill(inputs, dataset, keys, data)
    return inputs


def _fill(inputs: NDArray[np.float32], dataset: Dataset, keys: list[str], data: DataConfig) -> None:
    failures: list[str] = []
    for row, key in enumerate(keys):
        try:
            inputs[row] = _input(dataset, key, data)
        except DataError as error:
            failures.append(f"{key}: {error}")
    if failures:
        raise DataError(f"{len(failures)} of {len(keys)} images of {dataset.name} cannot be used: {first(failures)}")
