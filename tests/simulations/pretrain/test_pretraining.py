"""A checkpoint from a command: what it says of itself, that it learned, and that a study can start from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from common.config.study import compose
from common.data.loading import to_tensors
from common.errors import ConfigError, DataError, ModelError, UsageError
from common.models.checkpoints import Checkpoint, read_checkpoint
from common.models.feature_maps import KINDS, FeatureMaps
from common.models.views import VIEWS
from common.models.zoo import build_model
from simulations.cli.main import app
from simulations.data.sources import open_any
from simulations.engine.run import run_study, status_of
from simulations.pretrain.pretraining import Options, make_checkpoint
from simulations.pretrain.public_data import open_public
from simulations.pretrain.tuning import select_from

PATIENTS = "data.patients=160"


def _quiet(text: str) -> None:
    return None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("pretrain") / "checkpoint"
    return make_checkpoint([PATIENTS, "training.lr=0.003"], [], folder, Options(epochs=6, dimensions=16), _quiet)


def test_the_card_says_what_it_was_made_from(made: Checkpoint) -> None:
    card = made.card
    (data,) = card.data
    dataset = open_any(compose([PATIENTS]).data, 1)
    assert (data.name, data.seed, data.synthetic) == ("phantom", 1, True)
    assert (data.images, data.patients) == (len(dataset.records), 160)
    assert (card.network, card.image_size, card.channels, card.block) == ("small_cnn", 32, 1, "3")
    assert sum(int(card.figures[f"{split}_patients"] or 0) for split in ("train", "val", "test")) == 160
    assert float(card.figures["train_auroc"] or 0) > 0.6, "the phantom can be learned"
    assert len(made.lookalikes()) == 0, "a drawn patient is nobody"


def test_the_basis_is_that_of_all_images_in_all_views(made: Checkpoint) -> None:
    study = compose([PATIENTS, "seed=1"])
    inputs = to_tensors(open_any(study.data, 1), study.data).inputs
    card = made.card
    maps = FeatureMaps(made.network(), card.block, seed=card.sketch_seed, size=card.sketch_size)
    for kind in KINDS:
        rows = torch.cat([maps.of_view(inputs, view, (kind,))[kind] for view in VIEWS]).double().numpy()
        basis = made.basis(kind)
        assert basis.directions.shape[1] <= 16
        np.testing.assert_allclose(basis.mean, rows.mean(0), atol=1e-5)
        coordinates = (rows - rows.mean(0)) @ basis.directions
        np.testing.assert_allclose(coordinates.var(0), basis.eigenvalues, rtol=1e-3)


def test_the_same_command_makes_the_same_checkpoint(tmp_path: Path) -> None:
    few, options = ["data.patients=60"], Options(epochs=1, dimensions=4)
    one, other = (make_checkpoint(few, [], tmp_path / name, options, _quiet) for name in "ab")
    assert one.digest == other.digest
    third = make_checkpoint([*few, "seed=2"], [], tmp_path / "c", options, _quiet)
    assert third.digest != one.digest


def test_a_study_runs_on_it_and_keeps_its_digest(made: Checkpoint, tmp_path: Path) -> None:
    overrides = [PATIENTS, "model=linearised", f"model.weights={made.folder}", "partition.sites=2",
                 "training.rounds=1", "evaluation.local_baseline=false", "evaluation.resamples=0"]  # fmt: skip
    folder = run_study(overrides, "inprocess", tmp_path / "run")
    assert status_of(folder)["status"] == "COMPLETED"
    assert f"model.checkpoint={made.digest}" in (folder / "overrides.yaml").read_text()


def test_a_study_on_the_checkpoints_own_patients_is_refused(made: Checkpoint, tmp_path: Path) -> None:
    overrides = [PATIENTS, "seed=1", "model=linearised", f"model.weights={made.folder}"]
    with pytest.raises(DataError, match=r"was made from .* with seed=1.*phantom of another seed"):
        run_study(overrides, "inprocess", tmp_path / "run")


def test_training_starts_at_a_block_and_takes_the_head() -> None:
    network = build_model(compose(["model.width=4"]).model, (1, 32, 32), 0)
    select_from(network, "2")
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {
        name for name, _ in network.named_parameters() if name.startswith(("trunk.2", "trunk.3", "head"))
    }
    select_from(network, "all")
    assert all(parameter.requires_grad for parameter in network.parameters())
    with pytest.raises(ModelError, match=r"--tune 9.*all, or one of 0, 1, 2, 3"):
        select_from(network, "9")


def test_several_data_sets_are_one(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path / "files")
    studies = [compose(["data.patients=60"]), compose(["data=manifest", f"data.root={manifest}"])]
    images = open_public(studies)
    assert [data.name for data in images.described] == ["phantom", "manifest"]
    assert sum(part.num_patients for part in images.splits.values()) == 60 + 40
    assert any(name.startswith("manifest/") for name in images.splits["train"].patients)
    assert len(images.lookalikes) == 40
    with pytest.raises(DataError, match="more than once"):
        open_public([studies[0], studies[0]])


def _manifest(folder: Path) -> Path:
    from PIL import Image

    folder.mkdir()
    lines, generator = ["image,patient,label"], np.random.default_rng(0)
    for number in range(40):
        pixels = (generator.random((8, 8)) * 255).astype(np.uint8)
        Image.fromarray(pixels).resize((40, 40)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,p{number},{number % 2}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["model=resnet18"], ConfigError, "model.name=resnet18 has no checkpoint"),
        (["model=lite0", "model.weights=null"], ConfigError, "model.weights=package"),
        (["data=wdbc"], DataError, "holds tables"),
    ],
)
def test_what_cannot_be_pretrained_is_refused(
    tmp_path: Path, overrides: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_checkpoint(overrides, [], tmp_path / "made", Options(), _quiet)
    assert not (tmp_path / "made").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists"):
        make_checkpoint([], [], tmp_path, Options(), _quiet)


def test_the_command_prints_one_document(tmp_path: Path) -> None:
    out = tmp_path / "made"
    result = CliRunner().invoke(
        app, ["pretrain", "data.patients=60", "--epochs", "1", "--dimensions", "4", "--out", str(out), "--json"]
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["status"] == "ok"
    assert document["data"]["digest"] == read_checkpoint(out).digest
    assert document["data"]["card"]["figures"]["epochs"] == 1
    assert "epoch 1/1: validation AUROC" in result.stderr
    again = CliRunner().invoke(app, ["pretrain", "--out", str(out), "--json"])
    assert again.exit_code == 2
    assert "exists" in json.loads(again.stdout)["data"]["message"]
