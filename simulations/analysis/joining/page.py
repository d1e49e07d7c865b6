"""What joining gives, as tables of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from simulations.analysis.markdown import table

MARKS = BEGIN, END = "<!-- joining: begin -->", "<!-- joining: end -->"
NOISE = {"distributed": "shared noise (`privacy.mode=distributed`)", "local": "local noise"}


def tables(document: Mapping[str, Any]) -> str:
    """Returns the generated part of docs/joining.md, its two marks included."""
    parts = [BEGIN, f"Measured with {document['made_by']}."]
    for source in document["sources"]:
        parts += [f"### {source['title']}", f"Public checkpoint `{source['checkpoint'][:16]}`.", *_of(source["cells"])]
    return "\n\n".join([*parts, END])


def _of(cells: list[dict[str, Any]]) -> Iterator[str]:
    for mode, rows in groupby(sorted(cells, key=lambda cell: str(cell["mode"])), key=lambda cell: str(cell["mode"])):
        yield f"With {NOISE[mode]}:"
        yield table([_row(cell) for cell in rows])


def _row(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "patients": cell["patients"],
        "hospitals": cell["sites"],
        "epsilon": f"{cell['epsilon']:g}",
        "checkpoint": f"{cell['public']:.3f}",
        "at home": f"{cell['home']:.3f}",
        "federated": f"{cell['federated']:.3f}",
        "both": f"{cell['both']:.3f}",
        "gain (90 % of hospitals)": f"{cell['gain']:+.3f} ({cell['low']:+.3f} to {cell['high']:+.3f})",
        "standard error": f"{cell['error']:.3f}",
        "lost over .01": f"{cell['lost']:.0%}",
        "looked at": f"{cell['hospitals']} in {cell['divisions']}",
    }
