"""The registry of networks, each a :class:`Classifier`: a trunk that makes features and a linear head on top.

Every network is safe for per-patient gradients: no BatchNorm (it mixes patients), nothing in place, each layer with
parameters used once a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.config import ModelConfig
from common.errors import ModelError


class Classifier(nn.Module):
    """A trunk, global average pooling and a linear head with one output.

    Attributes:
        trunk: Maps inputs to a feature map (N, D, h, w), or to (N, D) for tables.
        head: Linear layer from D to the logit of malignancy.
        channels: Channels that the trunk wants; a single-channel input is repeated.
        normalise: Whether each row of features is centred and scaled to unit length before the head. It uses nothing
            but the row itself, so it costs no privacy, and weights and bias of a head get gradients of one size.
    """

    def __init__(
        self, trunk: nn.Module, features: int, *, channels: int, dropout: float = 0.0, normalise: bool = False
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.head = nn.Linear(features, 1)
        self.channels = channels
        self.normalise = normalise

    def features(self, inputs: Tensor) -> Tensor:
        """Returns the trunk's output: (N, D, h, w) for images, (N, D) for tables."""
        if inputs.dim() == 4 and inputs.shape[1] != self.channels:
            inputs = inputs.expand(-1, self.channels, -1, -1)
        output: Tensor = self.trunk(inputs)
        return output

    def embed(self, inputs: Tensor) -> Tensor:
        """Returns the pooled features, float (N, D), on which the head works."""
        return self.pool(self.features(inputs))

    def pool(self, features: Tensor) -> Tensor:
        """Returns float (N, D) of what :meth:`features` returned."""
        pooled = features.mean((2, 3)) if features.dim() == 4 else features
        return _rows_to_unit(pooled) if self.normalise else pooled

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the logit of malignancy of each input, (N,)."""
        logits: Tensor = self.head(self.dropout(self.embed(inputs)))
        return logits.squeeze(-1)

    @property
    def trunk_frozen(self) -> bool:
        """Whether no parameter of the trunk is trained."""
        return not any(parameter.requires_grad for parameter in self.trunk.parameters())


def _rows_to_unit(pooled: Tensor) -> Tensor:
    centred = pooled - pooled.mean(1, keepdim=True)
    return nn.functional.normalize(centred, dim=1)


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a network is made: ``build`` gets the configuration and the input shape.

    Attributes:
        images: Whether it reads images; tables otherwise.
        pretrained: Whether ``build`` itself fetches published weights; a network without takes files of OncoFed.
    """

    build: Callable[[ModelConfig, tuple[int, ...]], Classifier]
    images: bool
    pretrained: bool


_REGISTRY: dict[str, Architecture] = {}


def register(
    name: str, *, images: bool = True, pretrained: bool = False
) -> Callable[[Callable[..., Classifier]], Callable[..., Classifier]]:
    """Puts a builder into the registry under ``name``; see :class:`Architecture` for what the rest tells."""

    def decorate(build: Callable[..., Classifier]) -> Callable[..., Classifier]:
        _REGISTRY[name] = Architecture(build, images, pretrained)
        return build

    return decorate


def model_names(*, images: bool | None = None) -> tuple[str, ...]:
    """Returns the names of the registered networks, all or only those for images (or tables)."""
    _load()
    return tuple(sorted(name for name, a in _REGISTRY.items() if images is None or a.images == images))


def build_model(config: ModelConfig, input_shape: tuple[int, ...], seed: int) -> Classifier:
    """Returns the network of the study, initialised by ``seed`` alone.

    Args:
        config: Which network, how wide, with which weights.
        input_shape: (C, H, W) of an image or (F,) of a table row.
        seed: Seed of the random weights; the global generator is left as it was.

    Raises:
        ModelError: The name is unknown, the network does not read such inputs, or its weights cannot be had.
    """
    _load()
    if config.name not in _REGISTRY:
        raise ModelError(f"model.name={config.name!r} is unknown; choose one of {', '.join(sorted(_REGISTRY))}")
    architecture = _REGISTRY[config.name]
    if architecture.images != (len(input_shape) == 3):
        kind, other = ("images", "tables") if architecture.images else ("tables", "images")
        names = ", ".join(model_names(images=not architecture.images))
        raise ModelError(f"{config.name} reads {kind}, and these data are {other}; choose one of {names}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = architecture.build(config, input_shape)
    _start_head(model, config.prior)
    if config.weights is not None and not architecture.pretrained:
        _continue_from(model, config)
    return model


def _start_head(model: Classifier, prior: float) -> None:
    """Starts the bias at the public prior, so that few private steps are not spent on the prevalence."""
    with torch.no_grad():
        model.head.bias.fill_(math.log(prior / (1 - prior)))
        if model.normalise:
            model.head.weight.zero_()


def _continue_from(model: Classifier, config: ModelConfig) -> None:
    from common.models.pretrained import given_file
    from common.models.weights import load_weights

    otherwise = f"{config.name} has no published weights: write null or the model.safetensors of an earlier run"
    load_weights(model, given_file(str(config.weights), otherwise=otherwise))


def _load() -> None:
    from common.models import backbones, mlp, small_cnn, torchvision_nets

    del backbones, mlp, small_cnn, torchvision_nets
