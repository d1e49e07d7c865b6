"""The public images of a pretraining: one data set or several, as tensors by patient."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from common.config.study import DataConfig, StudyConfig
from common.data.loading import PatientTensors, to_tensors
from common.data.lookalikes import signatures, thumbnail
from common.data.manifest import SPLITS, Dataset
from common.data.splits import split_by_patient
from common.errors import DataError
from common.models.checkpoint_card import PublicData
from simulations.data.sources import open_any


@dataclasses.dataclass(frozen=True, eq=False)
class PublicImages:
    """Everything a pretraining sees.

    Attributes:
        splits: Tensors of train, val and test, split by patient or look-alike group.
        described: Each data set, for the card.
        lookalikes: uint8 (n, 64), hashes of the real images.
    """

    splits: dict[str, PatientTensors]
    described: tuple[PublicData, ...]
    lookalikes: NDArray[np.uint8]

    @property
    def inputs(self) -> torch.Tensor:
        """All images, (N, C, H, W)."""
        return torch.cat([part.inputs for part in self.splits.values()])


def open_public(studies: Sequence[StudyConfig]) -> PublicImages:
    """Returns the images of the studies' data sets, all in the shape that the first asks for.

    Raises:
        ConfigError, DataError: A data set cannot be read or split, holds tables, or is named twice.
    """
    first = studies[0]
    size, channels = first.data.image_size, first.data.channels
    datas = [dataclasses.replace(study.data, image_size=size, channels=channels) for study in studies]
    names = [data.name for data in datas]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"The data sets {sorted(twice)} are named more than once; name each once")
    datasets = [_opened(data, first.seed) for data in datas]
    splits = {split: _joined(datasets, datas, split) for split in SPLITS}
    described = tuple(_described(dataset, data, first.seed) for dataset, data in zip(datasets, datas, strict=True))
    hashes = [image_signatures(dataset) for dataset in datasets if not dataset.synthetic]
    return PublicImages(splits, described, np.concatenate([signatures([]), *hashes]))


def image_signatures(dataset: Dataset) -> NDArray[np.uint8]:
    """Returns the look-alike hashes uint8 (n, 64) of a data set's images, in no order that tells a patient."""
    found = signatures([thumbnail(dataset.read(record.image)) for record in dataset.records])
    return np.unique(found, axis=0)


def _opened(data: DataConfig, seed: int) -> Dataset:
    dataset = open_any(data, seed)
    if dataset.kind != "image":
        raise DataError(f"{dataset.name} holds tables; a checkpoint is pretrained on images")
    return split_by_patient(dataset, seed=seed, train_share=data.train_share, val_share=data.val_share)


def _joined(datasets: Sequence[Dataset], datas: Sequence[DataConfig], split: str) -> PatientTensors:
    parts = [to_tensors(dataset.in_split(split), data) for dataset, data in zip(datasets, datas, strict=True)]
    starts = np.cumsum([0, *(part.num_patients for part in parts)])[:-1].tolist()
    names = [f"{data.name}/{name}" for part, data in zip(parts, datas, strict=True) for name in part.patients]
    return PatientTensors(
        inputs=torch.cat([part.inputs for part in parts]),
        labels=torch.cat([part.labels for part in parts]),
        patient_of=torch.cat([part.patient_of + start for part, start in zip(parts, starts, strict=True)]),
        patients=tuple(names),
    )


def _described(dataset: Dataset, data: DataConfig, seed: int) -> PublicData:
    return PublicData(
        name=data.name,
        title=dataset.name,
        licence=dataset.licence,
        citation=dataset.citation,
        images=len(dataset.records),
        patients=len(dataset.patients()),
        synthetic=dataset.synthetic,
        seed=seed if dataset.synthetic else None,
    )
