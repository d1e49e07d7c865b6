"""The public checkpoints that a hospital keeps: a study names one by digest, and the folder is the hospital's own."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import DataError, ModelError
from common.trust.durable import make_folder, sync_folder

if TYPE_CHECKING:
    from common.config.study import StudyConfig
    from common.data.manifest import Dataset
    from common.models.checkpoints import Checkpoint


@dataclasses.dataclass(frozen=True, slots=True)
class KeptCheckpoints:
    """A folder with a folder for each checkpoint, or a file of weights, called by its digest."""

    path: Path

    def folder(self, digest: str) -> Path:
        """Returns the folder of a checkpoint, or the file of weights.

        Raises:
            ModelError: The hospital has none of that digest.
        """
        if not (found := self.path / digest).exists():
            raise ModelError(
                f"This hospital has no checkpoint {digest}; get its folder from the consortium, then: "
                "oncofed-site checkpoint add FOLDER"
            )
        return found

    def add(self, source: Path, own: Dataset) -> str:
        """Returns the digest of the checkpoint, or the SHA-256 of the file, that was copied.

        Raises:
            ModelError: It is no checkpoint, or damaged.
            DataError: It was made from images that look like some of the hospital's ``own``.
        """
        from common.models.checkpoints import CARD, FILES, file_digest, read_checkpoint

        if source.is_file():  # weights alone say nothing of what they were made from
            _check_safetensors(source)
            return self._copy({"": source}, file_digest(source))
        found = read_checkpoint(source)
        _refuse_own_images(found, own)
        return self._copy({name: source / name for name in (*FILES, CARD)}, found.digest)

    def _copy(self, files: Mapping[str, Path], digest: str) -> str:
        """Returns the digest, having copied all files or none; a damaged copy is replaced."""
        partial, target = self.path / f".{digest}.partial", self.path / digest
        make_folder(self.path)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name, file in files.items():
            shutil.copyfile(file, partial / (name or digest))
        if target.is_dir():
            shutil.rmtree(target)
        ((partial / digest) if "" in files else partial).replace(target)
        shutil.rmtree(partial, ignore_errors=True)
        sync_folder(self.path)
        return digest

    def all(self) -> list[Checkpoint]:
        """Returns the checkpoints that are folders, by digest.

        Raises:
            ModelError: One is damaged.
        """
        from common.models.checkpoints import read_checkpoint

        folders = [one for one in self.path.glob("[!.]*") if one.is_dir()]
        return [read_checkpoint(folder, folder.name) for folder in sorted(folders)]


def at_home(study: StudyConfig, folder: Callable[[str], Path] | None) -> StudyConfig:
    """Returns the study with the hospital's own folder of the checkpoint that it names, if it names one.

    Args:
        study: As it came from the hub, without a path.
        folder: Returns the folder of the checkpoint of a digest.

    Raises:
        ModelError: The hospital has no such checkpoint.
    """
    if not study.model.checkpoint or folder is None:
        return study
    weights = str(folder(study.model.checkpoint))
    return dataclasses.replace(study, model=dataclasses.replace(study.model, weights=weights))


def _check_safetensors(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):
            pass
    except (OSError, SafetensorError):
        raise ModelError(f"{file} is no safetensors file; expected weights, or a checkpoint's folder") from None


def _refuse_own_images(checkpoint: Checkpoint, own: Dataset) -> None:
    from common.data.lookalikes import seen_again, signatures, thumbnail

    known = checkpoint.lookalikes()
    if own.kind != "image" or not len(known):
        return
    again = seen_again(signatures([thumbnail(own.read(record.image)) for record in own.records]), known)
    if again:
        raise DataError(
            f"{again} images of this hospital look like images that the checkpoint was made from; what it knows of "
            "these patients would be charged nowhere. Ask the consortium for one made from other data"
        )
