"""Small folders of images and tables, as hospitals and archives have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.common.data.layouts import dicom, save


def picture(path: Path, seed: int = 0) -> Path:
    """Writes a small grey PNG that differs by seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 200, (6, 7), dtype=np.uint8)).save(path)
    return path


def pictures(folder: Path, names: Iterable[str]) -> Path:
    """Writes one picture a name."""
    for seed, name in enumerate(names):
        picture(folder / name, seed)
    return folder


def film(path: Path, **tags: str) -> Path:
    """Writes a DICOM file of a few pixels with these tags."""
    return save(dicom(np.arange(12, dtype=np.uint8).reshape(3, 4), **tags), path)


def csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], sep: str = ",") -> Path:
    """Writes a table without quotes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [sep.join(header), *(sep.join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def by_image(records: Iterable[object]) -> Mapping[str, object]:
    """Returns image -> record."""
    return {record.image: record for record in records}  # type: ignore[attr-defined]
