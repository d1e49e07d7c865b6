"""An exam's image beside the same image under the attention map, with what the map is worth written below it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from common.inference.package import Package
from common.inference.predict import Prediction, attention_of
from common.inference.reasons import MEANINGS
from common.notice import RESEARCH_USE

Floats = NDArray[np.float32]
STRONGEST = 0.65
"""Opacity where the map is 1; where it is 0 the picture shows through unchanged."""
COLOURS = "inferno"
SIDE = 512
"""Pixels of the longer side of each of the two pictures."""
FAST = 1
"""zlib's level: a quarter of the time of the usual one, a quarter more bytes."""
TEXT, MARGIN = 15, 6
"""Height of the letters and the room around them, in pixels."""
_INK, _PAPER = (255, 255, 255), (0, 0, 0)


def draw_picture(prediction: Prediction, number: int, package: Package) -> Image.Image | None:
    """Returns the picture of an exam's image ``number``; None where there is no map of it.

    It carries no letter of the exam: only what holds of the model and of its answer.
    """
    heat = attention_of(prediction, number, package)
    if heat is None:
        return None
    plain = in_colour(prediction.images[number].shown)
    pair = np.concatenate([_scaled(plain), _scaled(covered(plain, heat))], axis=1)
    return with_lines(pair, caption(prediction, number, package.attention))


def write_pictures(prediction: Prediction, package: Package, folder: Path, name: str) -> list[str]:
    """Writes ``NAME-1.png`` and so on, one an image, and returns their names."""
    names = []
    for number in range(len(prediction.images)):
        picture = draw_picture(prediction, number, package)
        if picture is not None:
            names.append(f"{name}-{number + 1}.png")
            picture.save(folder / names[-1], compress_level=FAST)
    return names


def covered(plain: Floats, heat: Floats) -> Floats:
    """Returns an RGB image (H, W, 3) in [0, 1]: the picture, ever more covered by colour where the map is higher."""
    from matplotlib import colormaps

    opacity = STRONGEST * heat[..., None]
    return np.asarray((1 - opacity) * plain + opacity * colormaps[COLOURS](heat)[..., :3], dtype=np.float32)


def in_colour(image: Floats) -> Floats:
    """Returns float32 (H, W, 3)."""
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def caption(prediction: Prediction, number: int, attention: Mapping[str, Any]) -> list[str]:
    """Returns the lines below the picture."""
    lines = [f"{RESEARCH_USE}.", f"{attention['label']}. Check of the map: {verdict(attention)}."]
    if float(np.ptp(prediction.heat[number])) == 0:
        lines.append("The map is blank: nothing in this image spoke for malignant.")
    lines += [f"Note: {line}." for line in prediction.told]
    if prediction.record.abstained:
        lines.append("No answer: " + "; ".join(MEANINGS[reason] for reason in prediction.record.reasons) + ".")
    return lines


def verdict(attention: Mapping[str, Any]) -> str:
    """Returns what came of the randomisation check, in words."""
    if attention["method"] == "none":
        return f"there is no map: {attention['reason']}"
    sanity = attention.get("sanity") or {}
    return (
        f"it {sanity['verdict']}"
        if "depend" in str(sanity.get("verdict"))
        else "whether it follows the model is unclear"
    )


def with_lines(picture: Floats, lines: list[str]) -> Image.Image:
    """Returns the picture (H, W, 3) in [0, 1] with the lines below it, wrapped to its width."""
    font = ImageFont.load_default(TEXT)
    wrapped = [part for line in lines for part in _wrapped(line, picture.shape[1] - 2 * MARGIN, font)]
    step = TEXT + MARGIN
    whole = Image.new("RGB", (picture.shape[1], picture.shape[0] + step * len(wrapped) + MARGIN), _PAPER)
    whole.paste(Image.fromarray(np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)))
    pen = ImageDraw.Draw(whole)
    for row, line in enumerate(wrapped):
        pen.text((MARGIN, picture.shape[0] + row * step + MARGIN // 2), line, fill=_INK, font=font)
    return whole


def _wrapped(line: str, width: int, font: Any) -> list[str]:
    found = [""]
    for word in line.split():
        longer = f"{found[-1]} {word}".strip()
        if found[-1] and font.getlength(longer) > width:
            found.append(word)
        else:
            found[-1] = longer
    return found


def _scaled(picture: Floats) -> Floats:
    """Returns (H, W, 3) at a longer side of :data:`SIDE`."""
    scale = SIDE / max(picture.shape[:2])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    image = Image.fromarray(np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / np.float32(255)
