"""Golden images: drawn by code, never patients; a package that scores them otherwise than it did is refused.

They are kept as PNG files and go the whole way of an exam: reader, preprocessing, network, map.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.config.study import DataConfig
from common.data.loading import network_input
from common.data.pixels.images import read_image
from common.errors import ModelError
from common.inference.attention_map import class_activation
from common.inference.graph import Network

Floats = NDArray[np.float32]
FOLDER, EXPECTED, MAPS = "golden", "golden/expected.json", "golden/maps.safetensors"
SIZES = ((220, 300), (260, 200), (128, 128), (96, 333))
"""Height and width of each, so that each shape is resized and padded in another way."""
TOLERANCE = 1e-4
"""Largest difference of a probability."""
MAP_TOLERANCE = 1e-3
"""Largest difference of a map, over its greatest value."""


def golden_image(number: int) -> NDArray[np.uint8]:
    """Returns golden image ``number``, uint8 (H, W): speckle under a fading beam, with one darker lesion."""
    height, width = SIZES[number]
    generator = np.random.default_rng(20261128 + number)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    depth = np.exp(-1.2 * rows / height)
    inside = ((rows / height - 0.45) / 0.2) ** 2 + ((columns / width - 0.4 - 0.05 * number) / 0.15) ** 2 < 1
    speckle = generator.gamma(4.0, 0.25, (height, width))
    grey = 150 * depth * speckle * np.where(inside, 0.3, 1.0)
    drawn: NDArray[np.uint8] = np.clip(np.round(grey), 0, 255).astype(np.uint8)
    return drawn


def write_golden(folder: Path, network: Network, data: DataConfig, head: tuple[Floats, bool] | None) -> None:
    """Writes images, expected scores and maps below ``folder``.

    Args:
        folder: Of the package.
        network: As the package will run.
        data: How images reach it.
        head: Weight and whether features are normalised; None: there is no map.
    """
    from PIL import Image
    from safetensors.numpy import save_file

    (folder / FOLDER).mkdir()
    for number in range(len(SIZES)):
        Image.fromarray(golden_image(number)).save(folder / _name(number))
    scores, maps = _seen(folder, network, data, head)
    (folder / EXPECTED).write_text(json.dumps({"schema_version": 1, "probability": scores}, indent=2) + "\n")
    save_file({str(number): heat for number, heat in enumerate(maps)}, folder / MAPS)


def check_golden(folder: Path, network: Network, data: DataConfig, head: tuple[Floats, bool] | None) -> float:
    """Returns the largest difference of a probability from the expected one.

    Raises:
        ModelError: It is more than :data:`TOLERANCE`, a map differs more than it may, or a file is damaged.
    """
    expected, known = _expected(folder)
    scores, maps = _seen(folder, network, data, head)
    if len(expected) != len(scores) or len(known) != len(maps):
        raise ModelError(
            f"{folder / EXPECTED} holds other golden images than this program draws; get the package again"
        )
    worst = float(np.abs(np.subtract(scores, expected)).max())  # not a number where one is none
    if not worst <= TOLERANCE:
        raise ModelError(
            f"On this machine the model scores its golden images up to {worst:.2g} otherwise than where it was "
            f"packaged; at most {TOLERANCE:g} is allowed. Do not use it here; tell who released it"
        )
    for came, was in zip(maps, known, strict=True):
        if came.shape != was.shape or not np.abs(came - was).max() <= MAP_TOLERANCE * max(float(was.max()), 1e-12):
            raise ModelError(
                "On this machine the model's attention maps of its golden images differ; do not use it here"
            )
    return worst


def _seen(
    folder: Path, network: Network, data: DataConfig, head: tuple[Floats, bool] | None
) -> tuple[list[float], list[Floats]]:
    images = np.stack([network_input(read_image(folder / _name(number)), data) for number in range(len(SIZES))])
    logits, features = network(images)
    scores = [float(1 / (1 + np.exp(-np.float64(logit)))) for logit in logits]
    maps = [] if head is None else [class_activation(one, head[0], normalised=head[1]) for one in features]
    return scores, maps


def _expected(folder: Path) -> tuple[list[float], list[Floats]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        document: dict[str, Any] = json.loads((folder / EXPECTED).read_text(encoding="utf-8"))
        maps = load_file(folder / MAPS)
        return [float(score) for score in document["probability"]], [maps[str(number)] for number in range(len(maps))]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        raise ModelError(f"{folder / EXPECTED} cannot be read; get the package again") from None


def _name(number: int) -> str:
    return f"{FOLDER}/{number}.png"
