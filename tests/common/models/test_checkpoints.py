"""A checkpoint's folder: what was written comes back, and nothing else is taken for it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from common.config.study import ModelConfig
from common.data.loading import PatientTensors
from common.errors import ModelError
from common.models.basis import PublicBasis
from common.models.checkpoint_card import CheckpointCard, PublicData, parse_card
from common.models.checkpoints import (
    BASIS,
    CARD,
    LOOKALIKES,
    WEIGHTS,
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
)  # fmt: skip
from common.models.classifier import Classifier
from common.models.feature_maps import KINDS, FeatureMaps
from common.models.parts import select_part, trainable_names
from common.models.weights import frozen_digest
from common.models.zoo import build_model
from common.training.loop import predict

SHAPE = (1, 32, 32)


def _small(seed: int = 3) -> Classifier:
    return build_model(ModelConfig(width=4), SHAPE, seed)


def images(patients: int) -> PatientTensors:
    inputs = torch.rand(patients, *SHAPE, generator=torch.Generator().manual_seed(2)) * 2 - 1
    numbers = torch.arange(patients)
    return PatientTensors(inputs, (numbers % 2).float(), numbers, tuple(f"p{number}" for number in numbers.tolist()))


def make(folder: Path, network: Classifier | None = None, name: str = "small_cnn", block: str = "3") -> Checkpoint:
    """Returns a checkpoint of random weights whose basis is that of random images."""
    network = network or _small()
    public = torch.rand(24, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    side = 32 if name == "small_cnn" else 64
    public = torch.nn.functional.interpolate(public, (side, side))
    maps = FeatureMaps(network, block, seed=7, size=128)
    bases = {kind: PublicBasis.of(features.numpy(), 8) for kind, features in maps(public).items()}
    data = PublicData(name="busi", title="BUSI", licence="CC", citation="A", images=24, patients=9, synthetic=False)
    card = CheckpointCard(
        network=name, width=4, image_size=side, channels=1, block=block, sketch_seed=7, sketch_size=128, data=(data,),
        seed=1, figures={"val_auroc": 0.7, "tuned_from": "all"}, code={"oncofed": "0"}, files={},
    )  # fmt: skip
    return write_checkpoint(folder, card, network, bases, np.zeros((2, 64), np.uint8))


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    network = _small()
    made = make(tmp_path / "made", network)
    found = read_checkpoint(made.folder, made.digest)
    assert found.card == made.card
    assert found.card.digest() == made.digest
    states = network.state_dict(), found.network().state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    for kind in KINDS:
        basis = found.basis(kind)
        assert basis.directions.shape == ({"gradient": 128, "pooled": 16, "last": 16}[kind], 8)
    assert found.lookalikes().shape == (2, 64)


def test_the_digest_names_everything(tmp_path: Path) -> None:
    one, same, other = (make(tmp_path / name, _small(seed)) for name, seed in (("a", 3), ("b", 3), ("c", 4)))
    assert one.digest == same.digest != other.digest
    described = dataclasses.replace(one.card.data[0], patients=10)
    assert dataclasses.replace(one.card, data=(described,)).digest() != one.digest


def _replace(name: str, change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        arrays = dict(load_file(folder / name))
        change(arrays)
        save_file(arrays, folder / name)

    return spoil


def _cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-4])


def _grow(folder: Path) -> None:
    with (folder / BASIS).open("r+b") as file:
        file.truncate(257 * 2**20)  # a hole: no byte is written


def _card(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        document = json.loads((folder / CARD).read_text())
        (folder / CARD).write_text(json.dumps(document | changes))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), r"weights.*cannot be read.*copy the whole folder"),
        (lambda folder: (folder / CARD).unlink(), r"card\.json cannot be read.*oncofed-sim pretrain"),
        (lambda folder: (folder / CARD).write_text("{"), r"no JSON"),
        (lambda folder: (folder / CARD).write_text("[" * 100_000), r"no JSON"),
        (lambda folder: (folder / CARD).write_text(" " * (2**20 + 1)), r"larger than"),
        (_cut, r"weights.*expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}"),
        (_grow, r"basis.*larger than 256 MiB"),
        (_replace(WEIGHTS, lambda arrays: arrays.update({"head.bias": np.array([9.0], np.float32)})), r"expected SHA"),
        (_replace(LOOKALIKES, lambda arrays: arrays.update(hashes=np.ones((1, 64), np.uint8))), r"expected SHA"),
        (_card(network="resnet18"), r"resnet18; expected one of lite0, small_cnn"),
        (_card(files={}), r"names the files \[\]"),
        (_card(files={"../../etc/passwd": "0" * 64}), r"names the files"),
        (_card(schema_version=2), r"schema_version"),
        (_card(spy=1), r"spy"),
        (_card(sketch_size=10**9), r"sketch_size"),
        (_card(figures={"val_auroc": float("nan")}), r"figures"),
    ],
)
def test_a_spoilt_folder_is_refused(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    made = make(tmp_path / "made")
    spoil(made.folder)
    with pytest.raises(ModelError, match=message):
        read_checkpoint(made.folder)


def test_another_checkpoint_is_refused_with_both_digests(tmp_path: Path) -> None:
    made = make(tmp_path / "made")
    with pytest.raises(ModelError, match=rf"{made.digest}, and the study names {'0' * 64}"):
        read_checkpoint(made.folder, "0" * 64)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (BASIS, lambda arrays: arrays.pop("last.mean"), r"no basis of last features"),
        (BASIS, lambda arrays: arrays.update({"last.mean": arrays["last.mean"] * np.float32("nan")}), r"not finite"),
        (BASIS, lambda arrays: arrays.update({"last.mean": arrays["last.mean"].astype(np.float64)}), r"float32"),
        (WEIGHTS, lambda arrays: arrays.update({"head.bias": np.array([np.nan], np.float32)}), r"not finite"),
        (WEIGHTS, lambda arrays: arrays.pop("head.bias"), r"another model"),
    ],
)
def test_unsound_arrays_are_refused_though_their_hashes_fit(
    tmp_path: Path, name: str, change: Callable[[dict[str, np.ndarray]], None], message: str
) -> None:
    """Whoever made the folder made it so: the card names these very files."""
    import hashlib

    made = make(tmp_path / "made")
    _replace(name, change)(made.folder)
    files = dict(made.card.files) | {name: hashlib.sha256((made.folder / name).read_bytes()).hexdigest()}
    _card(files=files)(made.folder)
    found = read_checkpoint(made.folder)
    with pytest.raises(ModelError, match=message):
        found.basis("last") if name == BASIS else found.network()


def test_a_card_says_what_is_wrong_with_it() -> None:
    with pytest.raises(ModelError, match=r"here is no card of a checkpoint \(.*Field required\)"):
        parse_card('{"schema_version": 1}', "here")


# --- in the zoo ---


def _config(made: Checkpoint, **keys: object) -> ModelConfig:
    given = {"name": "linearised", "part": "head", "weights": str(made.folder), "checkpoint": made.digest} | keys
    return ModelConfig(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_the_linear_model_reads_public_coordinates(tmp_path: Path, kind: str) -> None:
    made = make(tmp_path / "made")
    model = build_model(_config(made, features=kind, prior=0.3), SHAPE, 0)
    select_part(model, "head")
    data = images(6)
    card = made.card
    maps = FeatureMaps(made.network(), card.block, seed=card.sketch_seed, size=card.sketch_size, views=card.views)
    features = maps(data.inputs, (kind,))[kind]  # type: ignore[arg-type, index]
    expected = made.basis(kind).project(features.numpy())  # type: ignore[arg-type]
    with torch.no_grad():
        found = model.embed(data.inputs)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert found.dtype == torch.float32
    assert model.trunk_frozen and trainable_names(model) == ("head.weight", "head.bias")
    assert np.array_equal(model.trunk.eigenvalues.numpy(), made.basis(kind).eigenvalues)  # type: ignore[arg-type, union-attr]
    assert torch.allclose(predict(model, data), torch.full((6,), 0.3)), "it starts at the prior"


def test_occlusion_explains_it_and_a_heatmap_of_features_is_refused(tmp_path: Path) -> None:
    from common.explain.gradcam import gradcam

    model, inputs = build_model(_config(make(tmp_path / "made")), SHAPE, 0), images(2).inputs
    torch.nn.init.ones_(model.head.weight)
    for method in ("gradcam", "gradcam++"):
        with pytest.raises(ModelError, match="choose method=occlusion"):
            gradcam(model, inputs, method=method)  # type: ignore[arg-type]
    assert gradcam(model, inputs, method="occlusion").shape == (2, 32, 32)


def test_dimensions_are_the_first_axes(tmp_path: Path) -> None:
    made, inputs = make(tmp_path / "made"), images(3).inputs
    whole, few = (build_model(_config(made, dimensions=d), SHAPE, 0) for d in (0, 3))
    assert torch.allclose(whole.embed(inputs)[:, :3], few.embed(inputs), atol=1e-7)
    with pytest.raises(ModelError, match="has 8"):
        build_model(_config(made, dimensions=9), SHAPE, 0)


def test_parties_with_the_same_folder_agree_on_what_is_frozen(tmp_path: Path) -> None:
    one, other = make(tmp_path / "a"), make(tmp_path / "b", _small(4))
    models = [build_model(_config(made), SHAPE, seed) for made, seed in ((one, 0), (one, 1), (other, 0))]
    for model in models:
        select_part(model, "head")
    first, again, others = (frozen_digest(model) for model in models)
    assert first == again != others


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"checkpoint": "f" * 64}, "the study names f{64}"),
        ({"checkpoint": ""}, "names no checkpoint; the one in the folder is model.checkpoint=[0-9a-f]{64}"),
        ({"weights": None}, "expected the folder of a checkpoint"),
        ({"weights": "/nowhere"}, "expected the folder of a checkpoint"),
        ({"part": "all"}, "set model.part=head"),
        ({"name": "lite0"}, "checkpoint of small_cnn; set model.name=small_cnn"),
        ({"name": "small_cnn", "width": 16}, "model.width=4"),
        ({"name": "small_cnn", "width": 4, "checkpoint": "f" * 64}, "the study names f{64}"),
    ],
)
def test_a_study_that_does_not_fit_the_folder_is_refused(tmp_path: Path, keys: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_model(_config(make(tmp_path / "made"), **keys), SHAPE, 0)


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"reads images \(1, 32, 32\).*data.image_size=32"):
        build_model(_config(make(tmp_path / "made")), (1, 64, 64), 0)


def test_private_training_can_start_from_the_network_itself(tmp_path: Path) -> None:
    network = _small()
    made = make(tmp_path / "made", network)
    started = build_model(ModelConfig(width=4, weights=str(made.folder), checkpoint=made.digest, prior=0.9), SHAPE, 5)
    states = network.state_dict(), started.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0]), "the head too"


def test_lite0_starts_folded_and_with_its_head(tmp_path: Path) -> None:
    config = ModelConfig(name="lite0", weights="package", part="last_block")
    network = build_model(config, (1, 64, 64), 0)
    made = make(tmp_path / "made", network, "lite0", "blocks.11")
    inputs = torch.rand(2, 1, 64, 64) * 2 - 1
    for part in ("head", "all"):
        config = ModelConfig(name="lite0", weights=str(made.folder), checkpoint=made.digest, part=part)  # type: ignore[arg-type]
        started = build_model(config, (1, 64, 64), 1).eval()
        assert torch.allclose(started(inputs), network.eval()(inputs), atol=1e-6)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in started.modules())


def test_a_folder_is_never_written_over(tmp_path: Path) -> None:
    make(tmp_path / "made")
    with pytest.raises(ModelError, match="exists"):
        make(tmp_path / "made")
