"""``oncofed-site appearance``: do our images look like those of the other hospitals?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from client.cli.data import MIN_CELL, Images, Name, Root, given_data
from client.cli.privacy import Home
from common.cli.envelope import Json, print_json
from common.cli.guard import Guarded, say
from common.errors import DataError, UsageError

SCHEMA_VERSION = 1


class _Group(Guarded, TyperGroup):
    pass


appearance_app = typer.Typer(
    name="appearance", help="How images look (intensity, contrast, sharpness, speckle, stain), and which site differs.",
    cls=_Group, no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Adds the group to ``app``."""
    app.add_typer(appearance_app)


@appearance_app.command("export")
def export(
    out: Annotated[Path, typer.Argument(help="New file to hand in.")],
    site: Annotated[str | None, typer.Option(help="Name of the site, else that of site.yaml.")] = None,
    min_cell: Annotated[int, typer.Option(min=2, help="Fewest patients of which a mean is told.")] = MIN_CELL,
    name: Name = None,
    root: Root = None,
    images: Images = None,
    home: Home = None,
) -> None:
    """Write means and spreads over this site's patients, too coarse to tell one of them from two such files.

    Example: oncofed-site appearance export north.appearance.json
    """
    from client.site.site_file import site_home
    from common.cli.writing import check_new
    from common.data.intake.appearance import measure
    from common.data.intake.appearance_told import told_appearance

    check_new(out, "another name")
    named = site or site_home(home).read().name
    dataset = given_data(name, root, images, home)
    if dataset.kind != "image":
        raise UsageError(f"{dataset.name} is a table; it has no appearance")
    groups = [[measure(dataset.read(record.image)) for record in records] for records in dataset.patients().values()]
    found = told_appearance(groups, min_cell)
    if found is None:
        raise DataError(f"{dataset.name} has fewer than {min_cell} patients; nothing may be told of them")
    document = {"schema_version": SCHEMA_VERSION, "site": named, **found}
    out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    say(f"Written: {out}, of about {found['patients']} patients: {json.dumps(found['measures'])}")


@appearance_app.command("compare")
def compare(
    files: Annotated[list[Path], typer.Argument(help="The sites' files.")],
    as_json: Json = False,
) -> None:
    """Say which site's images look different, in standard deviations from the mean of the others.

    Example: oncofed-site appearance compare north.appearance.json south.appearance.json
    """
    from common.data.intake.appearance import LARGE, differences

    sites = {document["site"]: document for document in map(_document, files)}
    if len(sites) < 2 or len(sites) < len(files):
        raise DataError("Expected the appearance files of two or more different sites")
    found = differences(sites)
    if as_json:
        print_json({"differences": found})
    for site, row in found.items():
        figures = (f"{name} {value:+.2f}" + (" (large)" if abs(value) >= LARGE else "") for name, value in row.items())
        say(f"{site}: {', '.join(figures)}")


def _document(path: Path) -> dict[str, Any]:
    from common.data.intake.appearance import MEASURES

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        measures = found["measures"]
        sound = (
            found["schema_version"] == SCHEMA_VERSION
            and isinstance(found["site"], str)
            and type(found["patients"]) is int
            and found["patients"] > 0
            and set(measures) <= set(MEASURES)
            and all(float(row["mean"]) >= 0 and float(row["sd"]) >= 0 for row in measures.values())
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is no appearance file ({error})") from None
    if not sound:
        raise DataError(f"{path} is no appearance file; ask the site for: oncofed-site appearance export")
    return dict(found)
