"""The page of one emulated hospital's heatmaps: pictures of its own patients, to be seen there and nowhere else."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.explain.attention import LABEL

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

TITLES = {
    "tp": "True positives: malignant, called malignant",
    "fn": "False negatives: malignant, called benign",
    "fp": "False positives: benign, called malignant",
    "tn": "True negatives: benign, called benign",
}
SIDE = 256
"""Pixels of the longer side of a picture."""
COLOURS = "inferno"
OUTLINE = (0.34, 0.71, 0.91)
"""Sky blue of Okabe and Ito: no colour of the map comes near it."""
STRONGEST = 0.65
"""Opacity where the map is 1; where it is 0 the picture shows through unchanged."""

PAGE = """{% extends "base" %}
{% block title %}Heatmaps of {{ site }}{% endblock %}
{% block header %}
<style>
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: .75rem 1.25rem; }
.pairs figure { margin: 0; } .pairs .pair { display: flex; gap: .25rem; }
.pairs img { width: 50%; height: auto; min-width: 0; } .key img { width: 12rem; height: .7rem; vertical-align: middle; }
</style>
<p class="kicker">Heatmaps, {{ method }}</p>
<h1>{{ study }}, {{ site }}</h1>
{% endblock %}
{% block main %}
{% if synthetic %}<div class="banner note" role="note"><strong>Synthetic images.</strong> Drawn by a program; nothing
here is a patient.</div>{% endif %}
<div class="banner bad" role="note"><strong>{{ label }}.</strong> Colour shows what moved the model's score, at the
coarse grid of its last layer. It is no finding, no segmentation and no explanation of the disease. A map may look right
for a wrong reason.</div>
<p>Test patients of this site, {{ shown }} of {{ patients }}, from the lowest score of each group to the highest; not
chosen by their maps. Called malignant from {{ "%.3f" | format(threshold) }} on. Each pair is the image as the model
gets it, and the same image under the map.</p>
<p class="key">Map: 0 <img alt="from dark purple over orange to pale yellow" src="{{ bar }}"> 1, scaled to each image.
{% if outlined %}Blue line: the lesion as outlined in the data set, unknown to the model.{% endif %}</p>
{% for title, pictures in groups %}
<h2>{{ title }} ({{ pictures | length }} shown)</h2>
{% if pictures %}<div class="pairs">
{% for p in pictures %}
<figure><div class="pair"><img alt="Image of patient {{ p.number }}" src="{{ p.plain }}"><img
alt="The same image under the map of the model's attention" src="{{ p.overlay }}"></div>
<figcaption>Patient {{ p.number }}: score {{ "%.3f" | format(p.score) }}{% if p.note %}; {{ p.note }}{% endif %}.
{{ label }}.</figcaption></figure>
{% endfor %}
</div>{% else %}<p class="soft">None at this site.</p>{% endif %}
{% endfor %}
<h2>Where this page may go</h2>
<p>It holds images. It belongs to the site, whose data set is public or synthetic here; the run's
<code>explanation.json</code> holds counts and means only.</p>
{% endblock %}
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """One image with its map.

    Attributes:
        number: Stands for the patient on this page alone.
        score: The patient's probability of malignancy, in [0, 1].
        pixels: (C, H, W) in [-1, 1], the network's input without padding.
        heatmap: (H, W) in [0, 1].
        lesion: bool (H, W), if outlined.
        note: A few words of what was measured.
    """

    number: int
    score: float
    pixels: NDArray[np.floating]
    heatmap: NDArray[np.floating]
    lesion: NDArray[np.bool_] | None
    note: str


def gallery_page(groups: Mapping[str, Sequence[Picture]], facts: Mapping[str, Any]) -> str:
    """Returns one self-contained HTML page.

    Args:
        groups: Pictures by outcome, in the order shown: keys of :data:`TITLES`.
        facts: ``study``, ``site``, ``method``, ``synthetic``, ``threshold`` and ``patients``, all test patients.
    """
    from common.reporting.templates.base import render

    every = [picture for pictures in groups.values() for picture in pictures]
    values = dict(facts) | {
        "label": LABEL,
        "shown": len(every),
        "outlined": any(picture.lesion is not None for picture in every),
        "bar": _png(_colours()(np.linspace(0, 1, SIDE)[None, :])[..., :3]),
        "groups": [(title, [_shown(each) for each in groups.get(key, ())]) for key, title in TITLES.items()],
    }
    return render("gallery", {"gallery": PAGE}, values)


def overlay(grey: NDArray[np.floating], heatmap: NDArray[np.floating]) -> NDArray[np.floating]:
    """Returns an RGB image (H, W, 3) in [0, 1]: the picture, ever more covered by colour where the map is higher.

    Args:
        grey: (H, W, 3) in [0, 1].
        heatmap: (H, W) in [0, 1].
    """
    opacity = STRONGEST * heatmap[..., None]
    covered: NDArray[np.floating] = (1 - opacity) * grey + opacity * _colours()(heatmap)[..., :3]
    return covered


def outlined(picture: NDArray[np.floating], lesion: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Returns the RGB picture with a line two pixels wide along the inner edge of the lesion."""
    from scipy.ndimage import binary_erosion

    drawn = picture.copy()
    drawn[lesion & ~binary_erosion(lesion, iterations=2)] = OUTLINE
    return drawn


def _shown(picture: Picture) -> dict[str, Any]:
    pixels = np.moveaxis((picture.pixels + 1) / 2, 0, -1)
    grey = _large(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    covered = overlay(grey, _large(picture.heatmap))
    if picture.lesion is not None:
        covered = outlined(covered, _large(picture.lesion.astype(np.float32)) > 0.5)
    facts = {"number": picture.number, "score": picture.score, "note": picture.note}
    return facts | {"plain": _png(grey), "overlay": _png(covered)}


def _large(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Returns (H, W) or (H, W, 3) resized to a longer side of :data:`SIDE`, clipped to [0, 1]."""
    from PIL import Image

    scale = SIDE / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    planes = [image] if image.ndim == 2 else list(np.moveaxis(image, -1, 0))
    made = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize(size, Image.Resampling.BICUBIC))
        for plane in planes
    ]
    large: NDArray[np.floating] = np.clip(made[0] if image.ndim == 2 else np.stack(made, axis=-1), 0, 1)
    return large


def _png(picture: NDArray[np.floating]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _colours() -> Colormap:
    from matplotlib import colormaps

    return colormaps[COLOURS]
