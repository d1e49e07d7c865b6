"""The default network: a small convolutional net with GroupNorm, for 28 to 224 pixels and small sites."""

from __future__ import annotations

from math import gcd

from torch import Tensor, nn

from common.config.study import ModelConfig
from common.models.classifier import Classifier

GROUPS = 4


def build(config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    """Returns a net of four stages of widths w, 2w, 4w, 4w; one stage more from 128 px on."""
    widths = [config.width * factor for factor in (1, 2, 4, 4)]
    if min(input_shape[1:]) >= 128:
        widths.append(config.width * 4)
    channels = input_shape[0]
    stages: list[nn.Module] = []
    for index, width in enumerate(widths):
        stages.append(Stage(channels, width, pool=index < len(widths) - 1))
        channels = width
    return Classifier(nn.Sequential(*stages), channels, channels=input_shape[0], dropout=config.dropout)


class Stage(nn.Module):
    """Convolution, GroupNorm, ReLU and, except in the last stage, a halving of the sides."""

    def __init__(self, inputs: int, outputs: int, *, pool: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(gcd(GROUPS, outputs), outputs)
        self.activation = nn.ReLU(inplace=False)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns (N, outputs, h/2, w/2), or (N, outputs, h, w) without pooling."""
        output: Tensor = self.pool(self.activation(self.norm(self.conv(inputs))))
        return output
