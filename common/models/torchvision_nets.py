"""ResNet-18, DenseNet-121 and MobileNetV3-small from torchvision, made safe for per-patient gradients.

Without pretrained weights each BatchNorm becomes a GroupNorm; with them it is folded into its convolution where it
follows one (ResNet, MobileNet), so that the pretrained outputs stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.config import ModelConfig
from common.errors import ModelError
from common.models.dp_safe import fold_batch_norms, group_norm, out_of_place
from common.models.zoo import Classifier, register


@register("resnet18")
def resnet18(config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    """Returns ResNet-18 (He et al. 2016); below 96 px its stem keeps the resolution (3x3, stride 1, no pooling)."""
    net = _make("resnet18", config)
    if config.weights is None:
        net.conv1 = _stem(net.conv1, input_shape)
        if min(input_shape[1:]) < 96:
            net.maxpool = nn.Identity()
    net.avgpool, net.fc = nn.Identity(), nn.Identity()
    return _classifier(_Unflattened(net, 512), 512, config, input_shape)


@register("densenet121")
def densenet121(config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    """Returns DenseNet-121 (Huang et al. 2017)."""
    if config.weights is not None:
        raise ModelError("DenseNet normalises before it convolves, so its BatchNorms cannot be folded; "
                         "use model.weights=null, or resnet18 or lite0 for pretrained weights")  # fmt: skip
    net = _make("densenet121", config).features
    net.conv0 = _stem(net.conv0, input_shape)
    return _classifier(nn.Sequential(net, nn.ReLU()), 1024, config, input_shape)


@register("mobilenet_v3_small")
def mobilenet_v3_small(config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    """Returns MobileNetV3-small (Howard et al. 2019) without its two last layers."""
    net = _make("mobilenet_v3_small", config).features
    if config.weights is None:
        net[0][0] = _stem(net[0][0], input_shape)
    return _classifier(net, 576, config, input_shape)


def _make(name: str, config: ModelConfig) -> Any:
    from torchvision import models

    net = getattr(models, name)(weights=None)
    if config.weights is None:
        return group_norm(net)
    net.load_state_dict(_pretrained(config.weights))
    return net


def _classifier(trunk: nn.Module, features: int, config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    traced = out_of_place(trunk.eval())
    channels = input_shape[0]
    if config.weights is not None:
        traced, channels = fold_batch_norms(traced), 3
    return Classifier(
        traced.train(), features, channels=channels, dropout=config.dropout, normalise=config.part == "head"
    )


def _stem(convolution: nn.Conv2d, input_shape: tuple[int, ...]) -> nn.Conv2d:
    small = min(input_shape[1:]) < 96
    return nn.Conv2d(
        input_shape[0],
        convolution.out_channels,
        3 if small else convolution.kernel_size[0],
        stride=1 if small else convolution.stride[0],
        padding=1 if small else int(convolution.padding[0]),
        bias=False,
    )


class _Unflattened(nn.Module):
    """Runs a torchvision ResNet whose pooling and head were taken off, keeping the map before it was flattened."""

    def __init__(self, net: Any, features: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(inputs)))))
        return output


def _pretrained(weights: str) -> dict[str, torch.Tensor]:
    path = Path(weights)
    if path.exists():
        return read_state(path)
    from torchvision.models import get_weight

    try:
        named = get_weight(weights)
    except ValueError:
        raise ModelError(f"model.weights={weights!r} is neither a file nor a torchvision weight name") from None
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(str(named.url)).name
    if not cached.exists():
        raise ModelError(
            f"The torchvision weights {weights} are not on this machine; download {cached.name} where there is a "
            "network and give its path: model.weights=/path/to/file"
        )
    return read_state(cached)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of a ``.safetensors`` or torch state file; nothing is unpickled but tensors.

    Raises:
        ModelError: The file is damaged or holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError) as error:
        raise ModelError(f"{path} holds no readable weights: {str(error).splitlines()[0]}") from None
    except Exception as error:  # torch raises pickle errors of its own kinds for what is no state dict
        raise ModelError(f"{path} is not a plain state dict ({type(error).__name__}); save one with safetensors") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path} holds no mapping of names to tensors")
    return state
