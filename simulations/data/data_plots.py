"""Figures of a data set: examples of both classes, and who has how many of them. SVG text; no files are written."""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from common.data.manifest import Dataset, Record, mask_keys, read_mask
from common.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTLINE = "#E69F00"
"""Okabe and Ito's orange: seen on black as on white."""
ROWS = ((0, "benign"), (1, "malignant"))


def labels_svg(counts: Mapping[str, Mapping[str, int | None]]) -> str:
    """Returns malignant and benign training patients of each site as bars, the figure of the run report."""
    from common.reporting.figures.plots import labels_by_site_svg

    return labels_by_site_svg(counts, suppressed="few")


def examples_svg(sites: Mapping[str, Dataset], columns: int = 6, outlines: bool = True) -> str:
    """Returns a contact sheet: a row a class, each picture of another patient, sites in turn; lesions outlined.

    Raises:
        DataError: The data are a table.
    """
    if any(part.kind == "table" for part in sites.values()):
        raise DataError("A table has no pictures; use data show")
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "oncofed", "font.size": 8.0}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(1.5 * columns + 0.3, 3.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(len(ROWS), columns, squeeze=False)
        for row, (label, word) in zip(axes, ROWS, strict=True):
            for ax in row:
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
            for ax, (site, record) in zip(row, examples(sites, label, columns), strict=False):
                _picture(ax, sites[site], record, outlines)
                ax.set_xlabel(site)
            row[0].set_ylabel(word, fontsize=11)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return buffer.getvalue()


def examples(sites: Mapping[str, Dataset], label: int, number: int) -> list[tuple[str, Record]]:
    """Returns (site, first record) of up to ``number`` patients of a class, taking the sites in turn."""
    queues = [
        [(site, records[0]) for records in part.patients().values() if records[0].label == label]
        for site, part in sites.items()
    ]
    turns = [pair for turn in zip_longest(*queues) for pair in turn if pair is not None]
    return turns[:number]


def _picture(ax: Axes, dataset: Dataset, record: Record, outlines: bool) -> None:
    pixels = dataset.read(record.image)
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    if outlines and mask_keys(record):
        mask = read_mask(dataset, record)
        if mask.shape == pixels.shape[:2] and 0 < np.count_nonzero(mask) < mask.size:
            ax.contour(mask.astype(float), levels=[0.5], colors=OUTLINE, linewidths=0.8)
