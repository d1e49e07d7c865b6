"""``oncofed-site overlap``: do we hold the same women as another hospital? Only how many."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from client.cli.data import Images, Name, Root, given_data
from client.cli.privacy import Home
from common.cli.envelope import Json, print_json
from common.cli.guard import Guarded, say
from common.errors import DataError, UsageError


class _Group(Guarded, TyperGroup):
    pass


overlap_app = typer.Typer(
    name="overlap", help="How many patients and pictures two hospitals share, without telling which.", cls=_Group,
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip
Key = Annotated[Path, typer.Option(help="The key that the hospitals share and the hub never has.")]


def register(app: typer.Typer) -> None:
    """Adds the group to ``app``."""
    app.add_typer(overlap_app)


@overlap_app.command("key")
def key(out: Annotated[Path, typer.Argument(help="New file of the key.")]) -> None:
    """Make the key; hand it to the other hospitals by a safe way, and never to the hub.

    Example: oncofed-site overlap key overlap.key
    """
    from common.data.intake.overlap import new_key

    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{out} exists; name a new file") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(new_key() + "\n")
    say(f"Written: {out}. Whoever has it can test guesses of identifiers; the hub must not.")


@overlap_app.command("export")
def export(
    out: Annotated[Path, typer.Argument(help="New file to hand in.")],
    key: Key,
    site: Annotated[
        str | None, typer.Option(help="Name of the site [default: of site.yaml].", show_default=False)
    ] = None,
    name: Name = None,
    root: Root = None,
    images: Images = None,
    home: Home = None,
) -> None:
    """Write keyed hashes of this site's patients and pictures.

    Example: oncofed-site overlap export north.overlap.json --key overlap.key
    """
    from client.site.site_file import site_home
    from common.cli.writing import check_new
    from common.data.intake.overlap import overlap_file, read_key

    check_new(out, "another name")
    named = site or site_home(home).read().name
    document = overlap_file(given_data(name, root, images, home), read_key(_text(key)), named)
    out.write_text(json.dumps(document) + "\n", encoding="utf-8")
    say(f"Written: {out}. It tells nothing without the key; hand it in, and keep the key.")


@overlap_app.command("count")
def count(
    files: Annotated[list[Path], typer.Argument(help="The sites' files.")],
    as_json: Json = False,
) -> None:
    """Count what pairs of sites share; needs no key, so the hub can do it.

    Example: oncofed-site overlap count north.overlap.json south.overlap.json
    """
    from common.data.intake.overlap import overlaps

    found = overlaps([_document(path) for path in files])
    if as_json:
        print_json({"pairs": found})
    for row in found:
        say(f"{' and '.join(row['sites'])}: {row['patients']} patients, {row['images']} pictures in common")
        if row["but_for_zeros"]:
            say(
                f"warning: {row['but_for_zeros']} more patients would be in common without leading zeros: compare how "
                "both hospitals write identifiers, spreadsheets drop zeros"
            )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error})") from None


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path))
    except ValueError as error:
        raise DataError(f"{path} is no overlap file ({error})") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} is no overlap file: it holds no JSON object")
    return found
