"""Whose patients a checkpoint knows: the same data set, its copy, or the same pictures under another name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from common.config.study import StudyConfig, compose
from common.data.lookalikes import signatures, thumbnail
from common.data.manifest import Dataset, Record
from common.errors import DataError, ModelError
from common.models.basis import PublicBasis
from common.models.checkpoint_card import CheckpointCard, PublicData
from common.models.checkpoints import Checkpoint, write_checkpoint
from common.models.feature_maps import KINDS
from common.models.zoo import build_model
from simulations.data.public_overlap import check_public, naming


def _pictures(seed: int, count: int = 12) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(seed)
    return [np.kron(generator.random((8, 8)), np.ones((8, 8))).astype(np.float32) for _ in range(count)]


def _dataset(pictures: list[NDArray[np.float32]], *, synthetic: bool = False) -> Dataset:
    records = tuple(Record(image=str(at), patient=str(at), label=at % 2) for at in range(len(pictures)))
    return Dataset(name="own", records=records, read=lambda key: pictures[int(key)], synthetic=synthetic)


def _checkpoint(folder: Path, name: str = "busi", seed: int | None = None) -> Checkpoint:
    """A checkpoint said to be of ``name``, with the hashes of the pictures of seed 0."""
    network = build_model(compose(["model.width=4"]).model, (1, 32, 32), 0)
    basis = PublicBasis.of(torch.rand(9, 16, generator=torch.Generator().manual_seed(0)).numpy(), 4)
    data = PublicData(name=name, title=name.upper(), licence="", citation="", images=12, patients=12,
                      synthetic=seed is not None, seed=seed)  # fmt: skip
    card = CheckpointCard(network="small_cnn", width=4, image_size=32, channels=1, block="3", sketch_seed=1,
                          sketch_size=16, data=(data,), seed=1, figures={}, code={}, files={})  # fmt: skip
    hashes = signatures([thumbnail(picture) for picture in _pictures(0)])
    return write_checkpoint(folder, card, network, dict.fromkeys(KINDS, basis), hashes)


def _study(made: Checkpoint, name: str, seed: int = 0) -> StudyConfig:
    study = compose([f"data.name={name}", f"seed={seed}", f"model.weights={made.folder}", "model.width=4"])
    return dataclasses.replace(study, model=dataclasses.replace(study.model, checkpoint=made.digest))


@pytest.mark.parametrize(("public", "own"), [("busi", "busi"), ("busi", "breastmnist"), ("breastmnist", "busi")])
def test_a_data_set_and_its_copy_are_the_same_patients(tmp_path: Path, public: str, own: str) -> None:
    made = _checkpoint(tmp_path / "made", public)
    with pytest.raises(DataError, match=rf"made from {public.upper()}, and data={own} .*pretrain on other data"):
        check_public(_study(made, own), [_dataset(_pictures(5))])


def test_the_same_pictures_are_found_under_another_name(tmp_path: Path) -> None:
    made = _checkpoint(tmp_path / "made")
    saved_again = [picture[::2, ::2] * 0.9 for picture in _pictures(0)[:3]]
    with pytest.raises(DataError, match=r"^3 images of the study look like .*other data than BUSI"):
        check_public(_study(made, "manifest"), [_dataset(_pictures(6)), _dataset([*_pictures(7), *saved_again])])
    check_public(_study(made, "manifest"), [_dataset(_pictures(6)), _dataset(_pictures(7))])


def test_phantoms_are_others_with_another_seed(tmp_path: Path) -> None:
    made = _checkpoint(tmp_path / "made", "phantom", seed=1)
    own = [_dataset(_pictures(0), synthetic=True)]
    check_public(_study(made, "phantom", seed=2), own)
    with pytest.raises(DataError, match="with seed=1"):
        check_public(_study(made, "phantom", seed=1), own)


def test_two_manifests_are_told_apart_by_their_pictures_alone(tmp_path: Path) -> None:
    made = _checkpoint(tmp_path / "made", "manifest")
    check_public(_study(made, "manifest"), [_dataset(_pictures(5))])


def test_a_simulation_names_the_checkpoint_that_is_there(tmp_path: Path) -> None:
    made = _checkpoint(tmp_path / "made")
    unnamed = compose([f"model.weights={made.folder}"])
    assert naming(unnamed) == [f"model.checkpoint={made.digest}"]
    assert naming(_study(made, "busi")) == [] == naming(compose([]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="oncofed-sim pretrain"):
        naming(compose([f"model.weights={tmp_path / 'empty'}"]))
