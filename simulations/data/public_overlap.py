"""Refuses a checkpoint that was made from the study's own patients: what it knows of them would be charged nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.config.tuned import origin
from common.data.lookalikes import seen_again, signatures, thumbnail
from common.data.manifest import Dataset
from common.errors import DataError
from common.models.checkpoints import Checkpoint, read_checkpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from common.config.study import StudyConfig

ANY = "manifest"
"""A name that says nothing of what is in it."""


def folder_of(study: StudyConfig) -> Path | None:
    """Returns the folder of the study's public checkpoint; None: it has none."""
    folder = None if study.model.weights is None else Path(study.model.weights)
    return folder if folder is not None and folder.is_dir() else None


def naming(study: StudyConfig) -> list[str]:
    """Returns the override that names the checkpoint in the study's folder, where the study names none.

    Raises:
        ModelError: The folder holds no checkpoint.
    """
    folder = folder_of(study)
    if folder is None or study.model.checkpoint:
        return []
    return [f"model.checkpoint={read_checkpoint(folder).digest}"]


def check_public(study: StudyConfig, datasets: Iterable[Dataset]) -> None:
    """Refuses a checkpoint made from the study's data set, or from images that look like some of its images.

    Raises:
        DataError: Says which data set, or how many images.
        ModelError: The folder holds no checkpoint, or another one.
    """
    folder = folder_of(study)
    if folder is None:
        return
    checkpoint = read_checkpoint(folder, study.model.checkpoint)
    _check_names(study, checkpoint)
    known = checkpoint.lookalikes()
    real = [dataset for dataset in datasets if not dataset.synthetic]
    again = sum(seen_again(_signed(dataset), known) for dataset in real) if len(known) else 0
    if again:
        raise DataError(
            f"{again} images of the study look like images that the checkpoint {folder} was made from; public data "
            f"must hold none of the study's patients: pretrain on other data than {_titles(checkpoint)}"
        )


def _check_names(study: StudyConfig, checkpoint: Checkpoint) -> None:
    own = origin(study.data.name)
    for public in checkpoint.card.data:
        same = own == origin(public.name) != ANY
        if same and (public.seed is None or public.seed == study.seed):
            drawn = "" if public.seed is None else f" with seed={public.seed}, as the study's patients are"
            raise DataError(
                f"The checkpoint {checkpoint.folder} was made from {public.title}{drawn}, and data={study.data.name} "
                "of the study holds the same patients; pretrain on other data, or on a phantom of another seed"
            )


def _signed(dataset: Dataset) -> NDArray[np.uint8]:
    return signatures([thumbnail(dataset.read(record.image)) for record in dataset.records])


def _titles(checkpoint: Checkpoint) -> str:
    return ", ".join(public.title for public in checkpoint.card.data)
