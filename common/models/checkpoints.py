"""A public checkpoint as a folder: weights, public bases and a card whose digest names them all.

Nothing is unpickled, and nothing is used before its hash was compared with the card's, and the card's digest with the
one that the study names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.config.study import FeatureKind, ModelConfig
from common.errors import ModelError
from common.models.basis import PublicBasis
from common.models.checkpoint_card import CheckpointCard, parse_card
from common.models.classifier import Classifier
from common.models.feature_maps import KINDS
from common.models.nets import backbones, small_cnn
from common.models.weights import load_weights, save_model

CARD, WEIGHTS, BASIS, LOOKALIKES = "card.json", "weights.safetensors", "basis.safetensors", "lookalikes.safetensors"
FILES = (WEIGHTS, BASIS, LOOKALIKES)
MAX_BYTES = 256 * 2**20
MAX_CARD_BYTES = 2**20
BUILDERS: dict[str, Callable[[ModelConfig, tuple[int, ...]], Classifier]] = {
    "lite0": backbones.build,
    "small_cnn": small_cnn.build,
}
"""The networks that a checkpoint can hold."""
DEFAULT_BLOCKS = {"lite0": "blocks.11", "small_cnn": "3"}
"""Where the gradient is taken: for lite0 the best of blocks 8 to 15 on public-to-private transfer, or level with it."""
_PARTS = ("mean", "directions", "eigenvalues")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A folder whose every file is the one that the card names."""

    folder: Path
    card: CheckpointCard
    digest: str

    def network(self) -> Classifier:
        """Returns the network with its head at the checkpoint, float32.

        Raises:
            ModelError: The weights are of another network, or not finite.
        """
        card = self.card
        config = ModelConfig(name=card.network, width=card.width, part="last_block", weights=str(self.folder))
        with torch.random.fork_rng(devices=[]):
            network = BUILDERS[card.network](config, (card.channels, card.image_size, card.image_size))
        load_weights(network, self.folder / WEIGHTS)
        return network

    def basis(self, kind: FeatureKind) -> PublicBasis:
        """Returns the public basis of a kind of features.

        Raises:
            ModelError: The file holds no such basis, or one that is not sound.
        """
        arrays = _arrays(self.folder / BASIS)
        try:
            mean, directions, eigenvalues = (arrays[f"{kind}.{part}"] for part in _PARTS)
        except KeyError:
            raise ModelError(
                f"{self.folder / BASIS} holds no basis of {kind} features; make the checkpoint anew"
            ) from None
        if [part.dtype.name for part in (mean, directions, eigenvalues)] != ["float32", "float32", "float64"]:
            raise ModelError(f"{self.folder / BASIS}: expected float32, float32, float64; make the checkpoint anew")
        return PublicBasis(mean, directions, eigenvalues)

    def lookalikes(self) -> NDArray[np.uint8]:
        """Returns the look-alike hashes (n, bytes) of its public images."""
        return np.asarray(_arrays(self.folder / LOOKALIKES)["hashes"], dtype=np.uint8)


def read_checkpoint(folder: Path, digest: str = "") -> Checkpoint:
    """Returns the checkpoint in ``folder``; ``digest``, when given, is the one it must have.

    Raises:
        ModelError: A file is missing, too large, or not the one that the card names; the card is damaged, of a network
            that no checkpoint holds, or of another digest.
    """
    card = parse_card(_small_text(folder / CARD), str(folder / CARD))
    found = card.digest()
    if digest and found != digest:
        raise ModelError(
            f"{folder} holds the checkpoint {found}, and the study names {digest}; get the folder that the study was "
            "agreed with, or set model.checkpoint to the one you have"
        )
    if card.network not in BUILDERS:
        raise ModelError(f"{folder} is a checkpoint of {card.network}; expected one of {', '.join(sorted(BUILDERS))}")
    if set(card.files) != set(FILES):
        raise ModelError(f"{folder / CARD} names the files {sorted(card.files)}; expected {sorted(FILES)}")
    for name, expected in card.files.items():
        if (came := file_digest(folder / name)) != expected:
            raise ModelError(
                f"{folder / name} is not the file that the card names: expected SHA-256 {expected}, got {came}; copy "
                "the whole folder again"
            )
    return Checkpoint(folder, card, found)


def load_checkpoint_into(model: Classifier, config: ModelConfig, input_shape: tuple[int, ...]) -> None:
    """Loads the weights in the folder ``config.weights``, head included, into ``model``.

    Raises:
        ModelError: As :func:`read_checkpoint`; or it is a checkpoint of another network.
    """
    checkpoint = read_checkpoint(Path(str(config.weights)), config.checkpoint)
    card = checkpoint.card
    if card.network != config.name:
        raise ModelError(f"{checkpoint.folder} is a checkpoint of {card.network}; set model.name={card.network}")
    _check_width(card, config, input_shape)
    load_weights(model, checkpoint.folder / WEIGHTS)


def _check_width(card: CheckpointCard, config: ModelConfig, input_shape: tuple[int, ...]) -> None:
    if card.network == "small_cnn" and (card.width, card.channels) != (config.width, input_shape[0]):
        raise ModelError(
            f"The checkpoint is a small_cnn of model.width={card.width} and data.channels={card.channels}; set both so"
        )


def write_checkpoint(
    folder: Path,
    card: CheckpointCard,
    network: Classifier,
    bases: Mapping[FeatureKind, PublicBasis],
    lookalikes: NDArray[np.uint8],
) -> Checkpoint:
    """Writes a new folder, card last; ``card.files`` is filled in here.

    Raises:
        ModelError: The folder is there already.
    """
    from safetensors.numpy import save_file

    if folder.exists():
        raise ModelError(f"{folder} exists; name a new folder")
    folder.mkdir(parents=True)
    save_model(network, folder / WEIGHTS, {})
    arrays = {f"{kind}.{part}": np.ascontiguousarray(getattr(bases[kind], part)) for kind in KINDS for part in _PARTS}
    save_file(arrays, folder / BASIS)
    save_file({"hashes": lookalikes}, folder / LOOKALIKES)
    complete = dataclasses.replace(card, files={name: file_digest(folder / name) for name in FILES})
    (folder / CARD).write_text(json.dumps(complete.to_json(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return read_checkpoint(folder, complete.digest())


def _small_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise ModelError(f"{path} is larger than {MAX_CARD_BYTES} bytes: this is no card of a checkpoint")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ModelError(
            f"{path} cannot be read; expected the folder of a checkpoint, made by: oncofed-sim pretrain"
        ) from None


def file_digest(path: Path) -> str:
    """Returns the SHA-256 (hex) of a file.

    Raises:
        ModelError: It cannot be read, or is too large for a file of weights.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path} is larger than {MAX_BYTES // 2**20} MiB: this is no file of a checkpoint")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); copy the whole folder again") from None


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError):
        raise ModelError(f"{path} is no readable safetensors file; copy the whole folder again") from None
