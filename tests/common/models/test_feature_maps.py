"""Public features: autograd's gradient of each image and a sketch written down anew, whatever else is in the batch."""

from __future__ import annotations

import copy
import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from common.config.study import ModelConfig
from common.errors import ModelError
from common.models.classifier import Classifier
from common.models.feature_maps import KINDS, FeatureMaps
from common.models.gradients import blocks_of
from common.models.sketch import CountSketch
from common.models.views import VIEWS, View
from common.models.zoo import build_model

SIZE, SEED = 256, 5
NETS = [("small_cnn", None, "3", 32), ("small_cnn", None, "1", 32), ("lite0", "package", "blocks.11", 64)]


def _network(name: str, weights: str | None, side: int) -> Classifier:
    return build_model(ModelConfig(name=name, width=4, weights=weights, part="last_block"), (1, side, side), 0)


def _images(count: int, side: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _sketch_by_hand(name: str, vector: np.ndarray, seed: int, size: int) -> np.ndarray:
    """Entry by entry: its rank among the keys tells the sum, its bit the sign."""
    padded = -(-len(vector) // size) * size
    stream = hashlib.shake_256(f"oncofed count sketch|{seed}|{name}|{len(vector)}|{size}".encode()).digest(9 * padded)
    keys = [int.from_bytes(stream[8 * at : 8 * at + 8], "little") for at in range(padded)]
    sums = np.zeros(size)
    for rank, at in enumerate(sorted(range(padded), key=keys.__getitem__)):
        if at < len(vector):
            sums[rank % size] += vector[at] * (1 if stream[8 * padded + rank] & 1 else -1)
    return sums


def _by_autograd(network: Classifier, block: str, image: Tensor, size: int) -> np.ndarray:
    model = copy.deepcopy(network).eval().requires_grad_(True)
    total = np.zeros(size)
    for view in VIEWS:
        model.zero_grad()
        model(view.of(image))[0].backward()
        for name, module in model.trunk.named_modules():
            if name.startswith(f"{block}.") and isinstance(module, nn.Conv2d) and module.groups == 1:
                assert module.weight.grad is not None
                total += _sketch_by_hand(name, module.weight.grad.flatten().double().numpy(), SEED, size)
    return total / np.linalg.norm(total)


@pytest.mark.parametrize(("name", "weights", "block", "side"), NETS)
def test_the_gradient_is_autograds_sketched_by_hand(name: str, weights: str | None, block: str, side: int) -> None:
    network, images = _network(name, weights, side), _images(2, side)
    expected = [_by_autograd(network, block, image[None], SIZE) for image in images]
    with torch.no_grad():
        found = FeatureMaps(network, block, seed=SEED, size=SIZE)(images, ("gradient",))["gradient"]
    assert np.abs(found.numpy() - np.stack(expected)).max() < 1e-5


@pytest.mark.parametrize(("name", "weights", "block", "side"), NETS)
def test_pools_are_means_over_the_map(name: str, weights: str | None, block: str, side: int) -> None:
    network, images = _network(name, weights, side).eval(), _images(3, side)
    with torch.no_grad():
        last = torch.stack([network.features(view.of(images)).mean((2, 3)) for view in VIEWS]).mean(0)
        found = FeatureMaps(copy.deepcopy(network), block, seed=SEED, size=SIZE)(images)
    assert torch.allclose(found["last"], nn.functional.normalize(last, dim=1), atol=1e-6)
    assert found["pooled"].shape[1] == {"3": 16, "1": 8, "blocks.11": 192}[block]


def test_the_pool_of_a_traced_block_holds_its_shortcut() -> None:
    """Block 10 of lite0 ends in an addition, which tracing tears from its block: what block 11 reads tells it."""
    network, images, read = _network("lite0", "package", 64).eval(), _images(2, 64), list[Tensor]()
    after = network.trunk.get_submodule("blocks.11.expand.0")
    handle = after.register_forward_hook(lambda module, arguments, output: read.append(arguments[0]))
    found = FeatureMaps(network, "blocks.10", seed=SEED, size=SIZE)(images, ("pooled",))["pooled"]
    handle.remove()
    expected = torch.stack([each[:2].mean((2, 3)) for each in read]).mean(0)
    assert torch.allclose(found, nn.functional.normalize(expected, dim=1), atol=1e-6)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 40), st.integers(0, 100), st.data())
def test_a_row_does_not_hang_on_the_others(count: int, seed: int, data: st.DataObject) -> None:
    maps = FeatureMaps(_network("small_cnn", None, 32), "3", seed=SEED, size=SIZE)
    images = _images(count, 32, seed)
    some = torch.tensor(data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=20)))
    whole, part = maps(images), maps(images[some])
    for kind in KINDS:
        assert torch.equal(whole[kind][some], part[kind]), "to the last bit"
        assert torch.allclose(whole[kind].norm(dim=1), torch.ones(count), atol=1e-5)


def test_it_needs_no_gradient_of_the_caller_and_leaves_none() -> None:
    network = _network("small_cnn", None, 32)
    maps, images = FeatureMaps(network, "3", seed=SEED, size=SIZE), _images(5, 32)
    with torch.no_grad():
        quiet = maps(images)
    loud = maps(images)
    assert all(torch.equal(quiet[kind], loud[kind]) and not loud[kind].requires_grad for kind in KINDS)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_another_seed_is_another_sketch_of_the_same_geometry() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(4, 5000, generator=generator) + torch.randn(1, 5000, generator=generator)
    products = [CountSketch(seed, "w", 5000, 512)(vectors) for seed in range(60)]
    grams = torch.stack([sketch @ sketch.T for sketch in products])
    exact = vectors @ vectors.T
    # Weinberger et al. 2009, lemma 2: unbiased, with a variance of at most (|x|^2 |y|^2 + (x y)^2) / size.
    spread = torch.sqrt((exact.diag()[:, None] * exact.diag()[None] + exact**2) / 512 / 60)
    assert ((grams.mean(0) - exact).abs() < 5 * spread).all()
    assert not torch.equal(products[0], products[1])


def test_a_sketch_is_the_same_everywhere() -> None:
    found = CountSketch(20261127, "blocks.11.expand.0", 5, 4)(torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]]))
    by_hand = _sketch_by_hand("blocks.11.expand.0", np.array([1.0, 2.0, 4.0, 8.0, 16.0]), 20261127, 4)
    assert found[0].tolist() == by_hand.tolist()


@settings(deadline=None, max_examples=25)
@given(st.floats(-10, 10), st.floats(-0.06, 0.06), st.floats(-0.06, 0.06), st.booleans())
def test_a_view_moves_and_stays_in_range(degrees: float, right: float, down: float, flip: bool) -> None:
    images = _images(3, 24)
    moved = View(flip, degrees, right, down).of(images)
    assert moved.shape == images.shape
    assert moved.min() >= -1 - 1e-5 and moved.max() <= 1 + 1e-5
    assert torch.allclose(View(flip, degrees, right, down).of(images[1:2]), moved[1:2], atol=1e-6)


def test_a_flip_is_a_mirror() -> None:
    images = _images(2, 16)
    assert torch.equal(View().of(images), images)
    assert torch.equal(View(flip=True).of(View(flip=True).of(images)), images)
    nearly = View(flip=True, degrees=1e-5).of(images)
    assert torch.allclose(nearly, images.flip(3), atol=1e-3)


def test_an_unknown_block_is_named_with_those_there_are() -> None:
    network = _network("small_cnn", None, 32)
    assert blocks_of(network) == ["0", "1", "2", "3"]
    with pytest.raises(ModelError, match=r"block='7'.*0, 1, 2, 3"):
        FeatureMaps(network, "7", seed=0, size=64)
    assert "blocks.11" in blocks_of(_network("lite0", "package", 64))
