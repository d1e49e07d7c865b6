"""``oncofed-sim explain``: where does the model of a run look, and is that the lesion?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from common.cli.envelope import Json, print_json

HELP = """Draw heatmaps of a finished run and measure where they look.

Writes sites/<site>/gallery/index.html, pictures of the emulated site's test patients beside their maps, and
explanation.json with counts and means: the map's maximum inside the lesion (pointing), the share of the map inside it
(energy), overlap with it (IoU), and the share on the border and in the corners, each against chance. A heatmap is model
attention, not a lesion outline. docs/explanations.md says what follows from it, and what does not.

Examples:

  oncofed-sim explain runs/20261123T180000Z-study

  oncofed-sim explain runs/20261123T180000Z-study --site site_1 --count 12 --method occlusion --sanity
"""
COLUMNS = {"pointing": "pointing", "energy": "energy", "iou": "IoU", "border": "border", "corner": "corners"}
OUTCOME_WORDS = {
    "all": "all",
    "tp": "true positive",
    "fp": "false positive",
    "tn": "true negative",
    "fn": "false negative",
    "other": "other",
}
OWN_ROWS = ("all", "tp")
"""Shown of each site: a map shows what speaks for malignant, so true positives are where it should find the lesion."""
VERDICTS = {"above": "is above chance", "below": "is below chance", "unclear": "is not told from chance"}
DASH = "-"


class Method(StrEnum):
    """Choices of ``--method``."""

    gradcam = "gradcam"
    gradcam_pp = "gradcam++"
    occlusion = "occlusion"


def explain(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    site: Annotated[str | None, typer.Option(help="One site [default: all].", show_default=False)] = None,
    count: Annotated[int, typer.Option(min=0, max=1000, help="Most patients shown of each outcome at a site.")] = 6,
    method: Annotated[Method, typer.Option(help="How the maps are made.")] = Method.gradcam,
    sanity: Annotated[bool, typer.Option("--sanity", help="Randomise the weights too: do the maps follow?")] = False,
    as_json: Json = False,
) -> None:
    """Explains one run."""
    from simulations.analysis.explain import ExplainOptions, explain_run
    from simulations.engine.display import console
    from simulations.engine.environment import quiet_environment

    os.environ.update(quiet_environment())
    screen = console()
    options = ExplainOptions(site=site, count=count, method=method.value, sanity=sanity)
    document = explain_run(folder, options, lambda text: screen.print(f"{text} ...", highlight=False))
    _show(folder, document, screen)
    if as_json:
        print_json(document)


def _show(folder: Path, document: Mapping[str, Any], screen: Any) -> None:
    from simulations.engine.display import RESEARCH_ONLY

    screen.print(_table(document))
    for line in summary(document):
        screen.print(line, highlight=False, soft_wrap=True, markup=False)
    screen.print(f"{document['label']}. {RESEARCH_ONLY}.", highlight=False)
    for name in document["sites"]:
        page = folder / "sites" / name / "gallery" / "index.html"
        screen.print(f"Pictures: {page}", highlight=False, soft_wrap=True, markup=False)


def _table(document: Mapping[str, Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("site", overflow="fold")
    table.add_column("outcome")
    table.add_column("patients", justify="right")
    for title in COLUMNS.values():
        table.add_column(f"{title}\n(chance)", justify="right", no_wrap=True)
    for name, found in document["sites"].items():
        _add_rows(table, name, found["summary"], OWN_ROWS)
    table.add_section()
    _add_rows(table, "pooled", document["pooled"], OUTCOME_WORDS)
    return table


def _add_rows(table: Any, name: str, found: Mapping[str, Any], wanted: Iterable[str]) -> None:
    from rich.text import Text

    for outcome in (key for key in wanted if key in found):
        part = found[outcome]
        cells = [cell(part["measures"].get(key)) for key in COLUMNS]
        table.add_row(Text(name), OUTCOME_WORDS[outcome], str(part["patients"] or DASH), *cells)


def cell(row: Mapping[str, Any] | None) -> str:
    """Returns the mean and, in brackets, chance; a dash for what was not measured or may not be told."""
    return DASH if row is None else f"{row['value']:.2f} ({row['chance']:.2f})"


def summary(document: Mapping[str, Any]) -> list[str]:
    """Returns in words what the pooled figures say against chance, and the verdict of the sanity check.

    Of true positives where they may be told, else of all patients.
    """
    pooled = document["pooled"]
    outcome = "tp" if "tp" in pooled else "all"
    measures = pooled[outcome]["measures"]
    lines = [f"Of {OUTCOME_WORDS[outcome]} patients:"]
    for key, words in (("energy", "on the lesion"), ("border", "on the border"), ("overlay", "on burned-in letters"),
                       ("padding", "on the padding")):  # fmt: skip
        if key in measures:
            row = measures[key]
            low, high = (DASH if row[part] is None else f"{row[part]:+.3f}" for part in ("gain_low", "gain_high"))
            lines.append(f"  attention {words} {VERDICTS[row['against_chance']]}: {row['gain']:+.3f} ({low} to {high})")
    if "centre_energy" in measures:
        share = measures["centre_energy"]["value"]
        lines.append(f"  a map that always looks at the middle has {share:.2f} of its energy on the lesion")
    whole = pooled["all"]
    if whole["blank"]:
        lines.append(f"Blank maps, nothing spoke for malignant: {whole['blank']} of {whole['patients']} patients")
    if document["sanity"]:
        last = document["sanity"]["layers"][-1]["spearman"]
        figure = DASH if last is None else f"{last:.2f}"
        verdict = document["sanity"]["verdict"].replace("unclear", "may or may not depend on the weights")
        lines.append(f"Weights randomised: the map {verdict} (rank correlation {figure} with the trained model's).")
    return lines
