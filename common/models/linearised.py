"""A linear model on the public features of a checkpoint: a network whose trunk is public and frozen."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from common.config.study import FeatureKind, ModelConfig
from common.errors import ModelError
from common.models.basis import PublicBasis
from common.models.checkpoints import Checkpoint, read_checkpoint
from common.models.classifier import Classifier
from common.models.feature_maps import FeatureMaps
from common.rows import by_rows

NAME = "linearised"


class PublicCoordinates(nn.Module):
    """Maps an image to its coordinates in the public basis, z = (features - mean) @ directions.

    Attributes:
        eigenvalues: float64 (d,), variance of the public images along each axis, descending.
    """

    mean: Tensor
    directions: Tensor
    eigenvalues: Tensor

    def __init__(self, maps: FeatureMaps, kind: FeatureKind, basis: PublicBasis) -> None:
        super().__init__()
        self.network, self._maps, self._kind = maps.network, maps, kind
        self.register_buffer("mean", torch.from_numpy(basis.mean.copy()))
        self.register_buffer("directions", torch.from_numpy(basis.directions.copy()))
        self.register_buffer("eigenvalues", torch.from_numpy(basis.eigenvalues.copy()))

    def train(self, mode: bool = True) -> PublicCoordinates:
        """Returns itself, in evaluation mode always: a public feature is a fixed function."""
        return super().train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the coordinates (N, d) of images (N, C, H, W), with no gradient; no row hangs on the others."""
        features = self._maps(inputs, (self._kind,))[self._kind]
        return by_rows(features - self.mean, self.directions.T)


def build(config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    """Returns the coordinates of ``model.features`` of the checkpoint in ``model.weights``, and a linear head of zeros.

    Raises:
        ModelError: The study names no checkpoint or another one, the part is not the head, or the images are others.
    """
    if config.part != "head":
        raise ModelError(f"model=linearised trains a head on public features; set model.part=head, not {config.part}")
    checkpoint = _named(config)
    card = checkpoint.card
    if tuple(input_shape) != (expected := (card.channels, card.image_size, card.image_size)):
        raise ModelError(
            f"The checkpoint reads images {expected}, and the study has {tuple(input_shape)}; set "
            f"data.channels={card.channels} data.image_size={card.image_size}"
        )
    basis = checkpoint.basis(config.features).first(config.dimensions)
    maps = FeatureMaps(checkpoint.network(), card.block, seed=card.sketch_seed, size=card.sketch_size, views=card.views)
    trunk = PublicCoordinates(maps, config.features, basis)
    model = Classifier(trunk, len(basis.eigenvalues), channels=input_shape[0], dropout=config.dropout)
    nn.init.zeros_(model.head.weight)
    return model


def _named(config: ModelConfig) -> Checkpoint:
    if config.weights is None or not Path(config.weights).is_dir():
        raise ModelError(
            f"model.weights={config.weights!r}: expected the folder of a checkpoint, made by: oncofed-sim pretrain"
        )
    checkpoint = read_checkpoint(Path(config.weights), config.checkpoint)
    if not config.checkpoint:
        raise ModelError(
            f"The study names no checkpoint; the one in the folder is model.checkpoint={checkpoint.digest}"
        )
    return checkpoint
