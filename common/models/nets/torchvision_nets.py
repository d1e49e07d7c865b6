"""ResNet-18, DenseNet-121 and MobileNetV3-small from torchvision, made safe for per-patient gradients.

Without pretrained weights each BatchNorm becomes a GroupNorm; with them it becomes part of a convolution, so that the
pretrained outputs stay.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from common.config.study import ModelConfig
from common.models.classifier import Classifier
from common.models.dp_safe import fold_batch_norms, group_norm, out_of_place
from common.models.pretrained import fill, read_state, torchvision_file

# Sides in pixels below which a stem halves once less, so that a last map of at least 2x2 remains.
SMALL, TINY = 96, 48
# Of the training images of every torchvision ImageNet weight, red, green, blue in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def resnet18(config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    """Returns ResNet-18 (He et al. 2016); below 96 px its stem has stride 1, below 48 px no pooling."""
    net = _make("resnet18", config)
    if config.weights is None:
        net.conv1 = _stem(net.conv1, input_shape)
        if min(input_shape[1:]) < TINY:
            net.maxpool = nn.Identity()
    stem = nn.Sequential(OrderedDict(conv=net.conv1, norm=net.bn1, relu=net.relu, pool=net.maxpool))
    layers = OrderedDict(stem=stem, layer1=net.layer1, layer2=net.layer2, layer3=net.layer3, layer4=net.layer4)
    return _classifier(nn.Sequential(layers), 512, config, input_shape)


def densenet121(config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    """Returns DenseNet-121 (Huang et al. 2017); small images as for ResNet-18."""
    net = _make("densenet121", config).features
    if config.weights is None:
        net.conv0 = _stem(net.conv0, input_shape)
        if min(input_shape[1:]) < TINY:
            net.pool0 = nn.Identity()
    layers = OrderedDict(net.named_children())
    last = [(name, layers.pop(name)) for name in ("denseblock4", "norm5")]
    layers["last"] = nn.Sequential(OrderedDict([*last, ("relu", nn.ReLU())]))
    return _classifier(nn.Sequential(layers), 1024, config, input_shape)


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
    path = torchvision_file(name, config.weights)
    fill(net, {_current(key): value for key, value in read_state(path).items()}, path)
    return net


def _current(key: str) -> str:
    """Returns today's name of a tensor: torchvision's DenseNet files hold norm.1 where the network has norm1."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)


def _classifier(trunk: nn.Module, features: int, config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    channels = input_shape[0]
    if config.weights is None:
        traced = out_of_place(trunk)
    else:
        traced, channels = fold_batch_norms(out_of_place(_scaled(trunk).eval())), 3
    return Classifier(
        traced.train(), features, channels=channels, dropout=config.dropout, normalise=config.part == "head"
    )


def _scaled(trunk: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict([("scale", _ImageNetScale()), *trunk.named_children()]))


def _stem(convolution: nn.Conv2d, input_shape: tuple[int, ...]) -> nn.Conv2d:
    small = min(input_shape[1:]) < SMALL
    return nn.Conv2d(
        input_shape[0],
        convolution.out_channels,
        3 if small else convolution.kernel_size[0],
        stride=1 if small else convolution.stride[0],
        padding=1 if small else int(convolution.padding[0]),
        bias=False,
    )


class _ImageNetScale(nn.Module):
    """Turns pixels of [-1, 1] into the units that torchvision's weights were trained on."""

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        deviation = torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1)
        self.register_buffer("scale", 0.5 / deviation)
        self.register_buffer("shift", (0.5 - torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)) / deviation)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the same images, ImageNet's channels of mean 0 and deviation 1."""
        return inputs * self.scale + self.shift
