"""A public checkpoint from the overrides to its folder."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.cli.writing import make_folder
from common.config.overrides import expanded, split_overrides
from common.config.study import StudyConfig, compose
from common.errors import ConfigError, UsageError
from common.models.checkpoint_card import CheckpointCard
from common.models.checkpoints import BUILDERS, DEFAULT_BLOCKS, Checkpoint, write_checkpoint
from common.models.classifier import Classifier
from common.models.feature_maps import FeatureMaps
from common.models.zoo import build_model
from common.provenance import mathematics_digest, release, versions
from common.training.device import chosen
from simulations.pretrain.bases import public_bases
from simulations.pretrain.public_data import PublicImages, open_public
from simulations.pretrain.tuning import ALL, Tuned, area_by_patient, select_from, tune

DEFAULTS = ("privacy=none", "training=plain", "training.augment=true", "model.part=all", "seed=1")
"""What a pretraining is unless the overrides say otherwise; the seed is not that of the default study."""
GENTLY = {"lite0": ("training.lr=0.0002",)}
"""Further defaults of a network that starts from published weights: larger steps undo what it knows."""
TUNED_FROM = {"lite0": "blocks.11", "small_cnn": ALL}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is no part of a study.

    Attributes:
        epochs: Passes over the public training images at most.
        patience: Passes without a better validation AUROC after which it stops.
        tune: From which block of the trunk on it trains, or ``all``; empty: the network's usual one.
        block: Whose output and gradient are public features; empty: the network's usual one.
        dimensions: Axes of each public basis at most.
        sketch_seed: Of the count sketch.
        sketch_size: Its length.
    """

    epochs: int = 12
    patience: int = 4
    tune: str = ""
    block: str = ""
    dimensions: int = 192
    sketch_seed: int = 20261127
    sketch_size: int = 2048


def make_checkpoint(
    overrides: Sequence[str], also: Sequence[str], out: Path, options: Options, say: Callable[[str], None]
) -> Checkpoint:
    """Returns the checkpoint that was made in the new folder ``out``.

    Args:
        overrides: Hydra overrides of the first data set, the network and the training.
        also: Overrides of each further data set, as one string.
        out: Folder of the checkpoint.
        options: See :class:`Options`.
        say: Called with what is done next.

    Raises:
        UsageError, ConfigError, DataError: The overrides, the data or the folder cannot be used.
    """
    study = _study(overrides)
    _check(study, out)
    say("reading public images")
    further = [compose([*DEFAULTS, *expanded(split_overrides(text))]) for text in also]
    images = open_public([study, *further])
    device = chosen(study.simulation.device)
    network = build_model(study.model, tuple(images.inputs.shape[1:]), study.seed).to(device)
    maps = _maps(network, study.model.name, options)
    figures = _train(network, study, images, options, say)
    maps.network.load_state_dict(network.state_dict())
    bases = public_bases(maps, images.inputs, options.dimensions, say)
    return write_checkpoint(out, _card(study, options, images, figures), network.cpu(), bases, images.lookalikes)


def _maps(network: Classifier, name: str, options: Options) -> FeatureMaps:
    """Returns the public features of a copy, made before the training, so that a wrong block is refused at once."""
    block = options.block or DEFAULT_BLOCKS[name]
    return FeatureMaps(copy.deepcopy(network), block, seed=options.sketch_seed, size=options.sketch_size)


def _train(
    network: Classifier, study: StudyConfig, images: PublicImages, options: Options, say: Callable[[str], None]
) -> dict[str, Any]:
    """Returns the figures of the card."""
    begin = options.tune or TUNED_FROM[study.model.name]
    select_from(network, begin)
    tuned = tune(network, images.splits, study.training, epochs=options.epochs, patience=options.patience,
                 seed=study.seed, say=say)  # fmt: skip
    return _figures(network, images, tuned) | {"tuned_from": begin, "learning_rate": study.training.lr}


def _check(study: StudyConfig, out: Path) -> None:
    if study.model.name not in BUILDERS:
        raise ConfigError(
            f"model.name={study.model.name} has no checkpoint; choose one of {', '.join(sorted(BUILDERS))}"
        )
    if study.model.name == "lite0" and study.model.weights is None:
        raise ConfigError("A checkpoint of lite0 starts from published weights; set model.weights=package")
    if out.exists():
        raise UsageError(f"{out} exists; name a new folder with --out")
    make_folder(out.resolve().parent, "--out")


def _study(overrides: Sequence[str]) -> StudyConfig:
    name = compose([*DEFAULTS, *overrides]).model.name
    return compose([*DEFAULTS, *GENTLY.get(name, ()), *overrides])


def _figures(network: Classifier, images: PublicImages, tuned: Tuned) -> dict[str, Any]:
    figures: dict[str, Any] = {"epochs": tuned.epochs, "kept_epoch": tuned.kept}
    for split, part in images.splits.items():
        figures[f"{split}_auroc"] = round(area_by_patient(network, part), 4)
        figures[f"{split}_patients"] = part.num_patients
    return figures


def _card(study: StudyConfig, options: Options, images: PublicImages, figures: Mapping[str, Any]) -> CheckpointCard:
    return CheckpointCard(
        network=study.model.name,
        width=study.model.width,
        image_size=study.data.image_size,
        channels=study.data.channels,
        block=options.block or DEFAULT_BLOCKS[study.model.name],
        sketch_seed=options.sketch_seed,
        sketch_size=options.sketch_size,
        data=images.described,
        seed=study.seed,
        figures=figures,
        code={"oncofed": release(), "mathematics": mathematics_digest(), "torch": versions()["torch"]},
        files={},
    )
