"""A network with a public basis for tests: fixed directions of an image or a table row, with public variances."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.config.study import ModelConfig
from common.models import zoo
from common.models.classifier import Classifier
from common.models.zoo import Architecture

NAME = "public_axes"


class PublicAxes(nn.Module):
    """z = (pooled input) @ directions; variances fall as 1, 1/2, 1/3, ..."""

    eigenvalues: Tensor
    directions: Tensor

    def __init__(self, inputs: int, axes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        square = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64)
        self.register_buffer("directions", torch.linalg.qr(square)[0][:, :axes].float())
        self.register_buffer("eigenvalues", 1 / torch.arange(1, axes + 1, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        pooled = nn.functional.avg_pool2d(inputs, 4) if inputs.dim() == 4 else inputs
        coordinates: Tensor = pooled.flatten(1) @ self.directions
        return coordinates


def build(config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    inputs = input_shape[0] if len(input_shape) == 1 else input_shape[0] * input_shape[1] * input_shape[2] // 16
    axes = min(inputs, config.width)
    return Classifier(PublicAxes(inputs, axes), axes, channels=input_shape[0], dropout=config.dropout)


def register(*, images: bool) -> dict[str, Architecture]:
    """Returns the zoo's networks and this one, to be put in its place."""
    return zoo.ARCHITECTURES | {NAME: Architecture(build, images=images, pretrained=False)}
