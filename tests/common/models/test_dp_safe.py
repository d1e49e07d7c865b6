"""Folding and tracing against the network as it was; published weights against their own implementation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms.v2.functional import normalize

from common.config.study import ModelConfig
from common.models.dp_safe import fold_batch_norms, group_norm, out_of_place
from common.models.nets.backbones import Lite0Trunk, _fill
from common.models.parts import select_part, trainable_names
from common.models.zoo import build_model

MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Mixed(nn.Module):
    """Each case of folding: strided, depthwise, dilated, with bias, two norms in a row, after a sum, shared."""

    def __init__(self) -> None:
        super().__init__()
        self.strided, self.norm1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.depthwise, self.norm2 = nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.BatchNorm2d(8, eps=1e-3)
        self.again, self.before = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.dilated = nn.Conv2d(8, 4, 3, dilation=2)
        self.shared = nn.BatchNorm2d(4, affine=True)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.again(self.norm2(self.depthwise(self.relu(self.norm1(self.strided(inputs))))))
        maps += self.before(maps * 2)
        twice = self.dilated(maps)
        output: Tensor = self.shared(twice) + twice
        return output


@pytest.fixture
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def _lived_in(module: nn.Module, seed: int = 0) -> Any:
    """Gives each BatchNorm statistics as training would leave them."""
    generator = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor, low, high in (
                (norm.running_mean, -0.3, 0.3),
                (norm.running_var, 0.5, 2.0),
                (norm.weight.data, 0.5, 1.5),
                (norm.bias.data, -0.3, 0.3),
            ):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return module.eval()


@pytest.mark.usefixtures("_float64")
def test_folding_keeps_the_outputs() -> None:
    net = _lived_in(Mixed())
    inputs = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    expected = net(inputs)
    folded = fold_batch_norms(out_of_place(net))
    # float64: what is left is the rounding of another order of multiplication
    torch.testing.assert_close(folded(inputs), expected, rtol=1e-12, atol=1e-12)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in folded.parameters())


def test_a_group_norm_takes_the_channels_of_its_batch_norm() -> None:
    net = group_norm(nn.Sequential(*(nn.BatchNorm2d(channels) for channels in (3, 32, 40, 576))))
    assert [(m.num_groups, m.num_channels) for m in net] == [(3, 3), (32, 32), (20, 40), (32, 576)]  # type: ignore[union-attr]


def test_folded_lite0_equals_lite0_with_its_batch_norms() -> None:
    unfolded = Lite0Trunk()
    _fill(unfolded, "package")
    model = build_model(ModelConfig(name="lite0", weights="package"), (3, 96, 96), 0).eval()
    inputs = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected, got = unfolded.eval()(inputs), model.features(inputs)
    # ReLU6 ends the trunk, so outputs go to 6: 1e-5 of that, some 50 units in the last place of float32
    assert float((got - expected).abs().max()) < 6e-5


def test_lite0_equals_the_implementation_that_its_weights_were_published_with() -> None:
    """Figures of ``extract_features`` in efficientnet-lite-pytorch 0.1.0 on this picture."""
    model = build_model(ModelConfig(name="lite0", weights="package"), (3, 224, 224), 0).eval()
    picture = torch.sin(torch.linspace(-1, 1, 3 * 224 * 224) * 40).view(1, 3, 224, 224)
    with torch.no_grad():
        features = model.features(picture)
    assert features.shape == (1, 1280, 7, 7)
    assert float(features.mean()) == pytest.approx(0.16849938, rel=1e-4)
    assert float(features.square().mean()) == pytest.approx(0.52189505, rel=1e-4)


def _published(name: str, folder: Path) -> tuple[nn.Module, Path]:
    """A network as torchvision makes it, and its file; DenseNet's with the names of 2017, as it is published."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = _lived_in(getattr(models, name)(weights=None))
    state = net.state_dict()
    if name == "densenet121":
        for index in "12":
            state = {
                key.replace(f".norm{index}.", f".norm.{index}.").replace(f".conv{index}.", f".conv.{index}.")
                if "denselayer" in key
                else key: value
                for key, value in state.items()
            }
    torch.save(dict(state), folder / "published.pth")
    return net, folder / "published.pth"


def _features(name: str, net: Any, inputs: Tensor) -> Tensor:
    scaled = normalize((inputs + 1) / 2, MEAN, DEVIATION)
    if name == "resnet18":
        maps: Tensor = nn.Sequential(*list(net.children())[:-2])(scaled)
    else:
        maps = net.features(scaled)
    return torch.relu(maps) if name == "densenet121" else maps


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small"])
def test_published_torchvision_weights_give_the_published_features(name: str, tmp_path: Path) -> None:
    net, path = _published(name, tmp_path)
    model = build_model(ModelConfig(name=name, weights=str(path)), (1, 64, 64), 0).eval()
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected, got = _features(name, net, grey.expand(-1, 3, -1, -1)), model.features(grey)
    # 18 to 120 layers in float32, whose roundings differ once a norm is multiplied into a convolution
    assert float((got - expected).abs().max()) < 1e-4 * float(expected.abs().max())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    select_part(model, "bias_head")
    assert len(trainable_names(model)) > 10
