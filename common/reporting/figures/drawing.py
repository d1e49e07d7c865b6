"""What every figure shares: the canvas that becomes SVG text, colours, line styles, legend, and the CSV twin.

Text stays text; colours are Okabe and Ito's, and line style or marker repeats what colour says. Ink and grid have
one colour each (:data:`INK`, :data:`GRID`), so a page can put its own in their place for a dark background.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GRID = "#1b1f24", "#d5dae0"
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Without black (ink) and yellow (too pale on white)."""
_LINES = ("-", "--", ":", "-.")
_MANY = 12
"""More sites than this are drawn alike and thin: nobody tells twenty colours apart."""

Rows = Sequence[Mapping[str, Any]]


@contextmanager
def figure(name: str, title: str, height: float = 3.3) -> Iterator[tuple[Axes, list[str]]]:
    """Yields axes to draw on and a list that holds the SVG text afterwards."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        # A site may have a dollar sign in its name.
        "text.parse_math": False,
        "svg.hashsalt": "oncofed",
        "font.family": "DejaVu Sans",
        "font.size": 9.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "hatch.linewidth": 0.6,
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    }
    done: list[str] = []
    with matplotlib.rc_context(style):
        canvas = Figure(figsize=(6.2, height), layout="constrained")
        FigureCanvasSVG(canvas)
        yield canvas.add_subplot(), done
        buffer = io.StringIO()
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas.savefig(buffer, format="svg", transparent=True, metadata=empty)
    done.append(_tidy(buffer.getvalue(), name, title))


def _tidy(svg: str, name: str, title: str) -> str:
    """Returns the ``svg`` element alone, named for screen readers, with ids that are unique on a page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = body.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans', sans-serif")
    return body.replace("<svg", f'<svg role="img" aria-label={quoteattr(title)}', 1)


def styled(sites: Iterable[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields each site with the style of its line."""
    names = list(sites)
    for number, site in enumerate(names):
        if len(names) > _MANY:
            yield {"color": OKABE_ITO[4], "lw": 0.8, "label": f"{len(names)} sites" if number == 0 else None}, site
            continue
        colour, line = OKABE_ITO[number % len(OKABE_ITO)], _LINES[number % len(_LINES)]
        yield {"color": colour, "ls": line, "lw": 1.5, "label": site}, site


def or_nan(value: float | None) -> float:
    """Returns the value, or not-a-number where there is none: a gap in a line."""
    return math.nan if value is None else value


def whole_numbers(ax: Axes) -> None:
    """Marks whole numbers only on the horizontal axis."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def legend(ax: Axes) -> None:
    """Puts the labels that there are below the axes."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        # About 95 letters fit the width, and a line sample takes eight of them.
        columns = max(1, min(len(labels), 95 // (max(map(len, labels)) + 8)))
        ax.figure.legend(loc="outside lower center", ncols=columns, handlelength=2.4, columnspacing=1.4)


def rows_height(names: Sequence[str]) -> float:
    """Returns the height in inches of a figure with one row a name."""
    return 1.3 + 0.45 * max(2, len(names))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns the CSV text of a header and rows; empty cells for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def band(ax: Axes, block: Mapping[str, Any] | None, along: str) -> None:
    """Shades between ``low`` and ``high`` where both are known."""
    drawn = [row for row in band_rows(block, along) if None not in row]
    if drawn:
        at, low, high = zip(*drawn, strict=True)
        ax.fill_between(at, low, high, color=OKABE_ITO[4], alpha=0.25, lw=0, label="interval at each point")


def band_rows(block: Mapping[str, Any] | None, along: str) -> list[tuple[Any, ...]]:
    """Returns (place, low, high) of a band of ``evaluation.json``; nothing where there is none."""
    return list(zip(*(block[key] for key in (along, "low", "high")), strict=True)) if block else []
