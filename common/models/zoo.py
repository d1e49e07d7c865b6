"""The networks that a study can name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from common.config.study import ModelConfig
from common.errors import ModelError
from common.models import linearised
from common.models.checkpoints import load_checkpoint_into
from common.models.classifier import Classifier
from common.models.nets import backbones, mlp, small_cnn, torchvision_nets
from common.models.pretrained import check_digest, given_file
from common.models.weights import load_weights

__all__ = ["ARCHITECTURES", "Architecture", "Classifier", "build_model", "model_names"]


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


ARCHITECTURES = {
    "densenet121": Architecture(torchvision_nets.densenet121, images=True, pretrained=True),
    "linear": Architecture(mlp.build_linear, images=False, pretrained=False),
    "lite0": Architecture(backbones.build, images=True, pretrained=True),
    "mlp": Architecture(mlp.build, images=False, pretrained=False),
    "mobilenet_v3_small": Architecture(torchvision_nets.mobilenet_v3_small, images=True, pretrained=True),
    "resnet18": Architecture(torchvision_nets.resnet18, images=True, pretrained=True),
    "small_cnn": Architecture(small_cnn.build, images=True, pretrained=False),
}


def model_names(*, images: bool | None = None) -> tuple[str, ...]:
    """Returns the names of the networks, all or only those for images (or tables)."""
    return tuple(sorted(name for name, a in ARCHITECTURES.items() if images is None or a.images == images))


def build_model(config: ModelConfig, input_shape: tuple[int, ...], seed: int) -> Classifier:
    """Returns the network of the study, initialised by ``seed`` alone.

    Args:
        config: Which network, how wide, with which weights.
        input_shape: (C, H, W) of an image or (F,) of a table row.
        seed: Seed of the random weights; the global generator is left as it was.

    Raises:
        ModelError: The name is unknown, the network does not read such inputs, or its weights cannot be had, or are not
            those that the study names.
    """
    if config.name == linearised.NAME:
        return _started(linearised.build(config, input_shape), config.prior)
    if config.name not in ARCHITECTURES:
        known = ", ".join(sorted([*ARCHITECTURES, linearised.NAME]))
        raise ModelError(f"model.name={config.name!r} is unknown; choose one of {known}")
    architecture = ARCHITECTURES[config.name]
    if architecture.images != (len(input_shape) == 3):
        kind, other = ("images", "tables") if architecture.images else ("tables", "images")
        names = ", ".join(model_names(images=not architecture.images))
        raise ModelError(f"{config.name} reads {kind}, and these data are {other}; choose one of {names}")
    if config.checkpoint and config.weights is not None and Path(config.weights).is_file():
        check_digest(Path(config.weights), config.checkpoint)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = architecture.build(config, input_shape)
    _started(model, config.prior)
    if config.weights is not None and Path(config.weights).is_dir():
        load_checkpoint_into(model, config, input_shape)
    elif config.weights is not None and not architecture.pretrained:
        _continue_from(model, config)
    return model


def _started(model: Classifier, prior: float) -> Classifier:
    """Returns the model, its bias at the public prior, so that few private steps are not spent on the prevalence."""
    with torch.no_grad():
        model.head.bias.fill_(math.log(prior / (1 - prior)))
        if model.normalise:
            model.head.weight.zero_()
    return model


def _continue_from(model: Classifier, config: ModelConfig) -> None:
    otherwise = f"{config.name} has no published weights: write null or the model.safetensors of an earlier run"
    load_weights(model, given_file(str(config.weights), otherwise=otherwise))
