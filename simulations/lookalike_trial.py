"""How many copies of a picture the checks find, and how many pairs of different women they take for one.

BUSI's published list of near duplicates was made with the thumbnails that the checks use, so agreeing with it proves
little. This plants copies in BUS-BRA, which names its patients: an edited copy should be found, a pair of different
women never.

    python -m simulations.lookalike_trial --root BUSBRA
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from common.config import DataConfig
from common.data.checks.alike import MOST_BITS, difference_hash, distances
from common.data.formats import open_dataset
from common.data.lookalikes import THRESHOLD, thumbnail

Picture = NDArray[np.float32]


def _cropped(share: float) -> Callable[[Picture], Picture]:
    def crop(image: Picture) -> Picture:
        rows, columns = int(image.shape[0] * share), int(image.shape[1] * share)
        return image[rows : image.shape[0] - rows, columns : image.shape[1] - columns]

    return crop


def _jpeg(image: Picture) -> Picture:
    file = io.BytesIO()
    _bytes(image).save(file, "JPEG", quality=30)
    return np.asarray(Image.open(file), dtype=np.float32) / np.float32(255)


def _half(image: Picture) -> Picture:
    small = _bytes(image).resize((image.shape[1] // 2, image.shape[0] // 2))
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def _written(image: Picture) -> Picture:
    picture = _bytes(image)
    pen = ImageDraw.Draw(picture)
    pen.text((10, image.shape[0] - 20), "MAMA DIREITA 10H", fill=255)
    pen.line(
        (image.shape[1] * 0.3, image.shape[0] * 0.5, image.shape[1] * 0.6, image.shape[0] * 0.5), fill=255, width=2
    )
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


def _bytes(image: Picture) -> Image.Image:
    return Image.fromarray((image * 255).round().astype(np.uint8))


EDITS: Mapping[str, Callable[[Picture], Picture]] = {
    "JPEG of quality 30": _jpeg,
    "half the size": _half,
    "gamma 1.5": lambda image: image**1.5,
    "gamma 0.6": lambda image: image**0.6,
    "contrast, clipped": lambda image: np.clip((image - 0.1) * 1.6, 0, 1),
    "text and a line": _written,
    "cropped by 3 % a side": _cropped(0.03),
    "cropped by 8 % a side": _cropped(0.08),
    "framed by 5 % left and right": lambda image: np.pad(image, ((0, 0), (image.shape[1] // 20,) * 2)),
    "mirrored": lambda image: image[:, ::-1],
}


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """Shares, or numbers of pairs, that thumbnails, hashes and both together found."""

    thumbnails: float
    hashes: float
    either: float


def copies_found(images: Sequence[Picture]) -> dict[str, Found]:
    """Returns for each edit the share of images whose edited copy is found."""
    return {name: _share(images, edit) for name, edit in EDITS.items()}


def false_pairs(images: Sequence[Picture], patients: Sequence[str]) -> tuple[int, Found]:
    """Returns how many pairs are of different patients, and how many of them are taken for one picture."""
    small, hashes = np.stack([thumbnail(image) for image in images]), np.stack([difference_hash(i) for i in images])
    names = np.array(patients)
    other = np.triu(names[:, None] != names[None, :])
    close, near = (small @ small.T >= THRESHOLD) & other, (distances(hashes) <= MOST_BITS) & other
    return int(other.sum()), Found(float(close.sum()), float(near.sum()), float((close | near).sum()))


def _share(images: Sequence[Picture], edit: Callable[[Picture], Picture]) -> Found:
    hits = np.array([_hit(image, np.ascontiguousarray(edit(image), dtype=np.float32)) for image in images])
    return Found(*(float(share) for share in (hits[:, 0].mean(), hits[:, 1].mean(), hits.any(axis=1).mean())))


def _hit(image: Picture, copy: Picture) -> tuple[bool, bool]:
    close = bool(thumbnail(image) @ thumbnail(copy) >= THRESHOLD)
    return close, int((difference_hash(image) != difference_hash(copy)).sum()) <= MOST_BITS


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of BUS-BRA")
    parser.add_argument("--every", type=int, default=6, help="plant a copy of every so many images")
    given = parser.parse_args()
    dataset = open_dataset(DataConfig(name="bus_bra", root=str(given.root)))
    images = [dataset.read(record.image) for record in dataset.records]
    images = [image if image.ndim == 2 else image.mean(axis=2) for image in images]
    pairs, wrong = false_pairs(images, [record.patient for record in dataset.records])
    found = {name: dataclasses.asdict(one) for name, one in copies_found(images[:: given.every]).items()}
    print(json.dumps({"pairs": pairs, "false": dataclasses.asdict(wrong), "found": found}, indent=2))


if __name__ == "__main__":
    main()
