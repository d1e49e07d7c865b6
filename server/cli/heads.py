"""``oncofed-hub heads``: the last row of each site's ledger that the hub has seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.cli.guard import say
from server.cli.study import Home

if TYPE_CHECKING:
    from server.run.heads import SeenHead


def register(app: typer.Typer) -> None:
    """Adds the command to ``oncofed-hub``."""
    app.command()(heads)


def heads(
    site: Annotated[str | None, typer.Option(help="Only this site.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write it to a file, for the site's `ledger restore`.", show_default=False)
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(help="A site whose ledger is another now, and you know why; the next statement counts anew."),
    ] = None,
    home: Home = None,
) -> None:
    """Print the last row of each site's ledger that the hub has seen, and what is wrong with a later one.

    Example: oncofed-hub heads --site north --out north-head.json
    """
    from server.hub.home import hub_home
    from server.hub.journal import record
    from server.run.heads import FILE, Heads

    place = hub_home(home)
    place.config()
    kept = Heads(place.sites_file.with_name(FILE))
    if accept:
        old = kept.accept(accept)
        record(place, "accept-ledger", site=accept, key=old.key, seq=str(old.seq), digest=old.digest)
        say(f"The ledger of {accept} begins anew for this hub; what it was stands in the journal.")
        return
    found = {name: head for name, head in kept.all().items() if site in (None, name)}
    _tell(found, out)


def _tell(found: dict[str, SeenHead], out: Path | None) -> None:
    from dataclasses import asdict

    text = json.dumps({"schema_version": 1, "sites": {name: asdict(head) for name, head in found.items()}}, indent=2)
    if out is None:
        print(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")
    for name, head in found.items():
        say(f"{name}: row {head.seq}, seen {head.time}" + (f"; NOT BELIEVED: {head.problem}" if head.problem else ""))
