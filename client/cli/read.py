"""``oncofed-site read``: a person reads exams on a page of this machine, and sees what the model says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.cli.privacy import Home
from common.cli.guard import say


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command()(read)


def read(
    reader: Annotated[str, typer.Option(metavar="NAME", help="Who reads; stands beside every answer.")],
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH...", help="Images, or folders of them.", show_default=False)
    ] = None,
    folder: Annotated[Path | None, typer.Option("--in", help="A folder of images.", show_default=False)] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder that predict wrote; without images its exams are read.", show_default=False),
    ] = None,
    package: Annotated[
        Path | None, typer.Option(help="Folder of a model package [default: the active one].", show_default=False)
    ] = None,
    blind: Annotated[
        bool, typer.Option("--blind/--no-blind", help="Read each exam before the model's answer is shown.")
    ] = True,
    host: Annotated[str, typer.Option(help="Address of this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 0,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Processor threads of the network.")] = 1,
    home: Home = None,
) -> None:
    """Show exams on a page of this machine: read each, then see what the model says, then agree or not.

    Research use only. The page answers at 127.0.0.1 only, to the one browser that opens the address printed on stdout.
    Answers are kept in readings.jsonl of the site's folder, else of --out; blind readings of benign or malignant go to
    the site's monitor as the reader's word. Without images and --out the exams that `listen` took in are shown.

    Ends at Ctrl-C or SIGTERM.

    Examples:
      oncofed-site read --reader "Dr Weber" --in exams --out results --package packages/busbra

      oncofed-site read --reader "Dr Weber"
    """
    from client.reader.serve import Wanted, serve
    from client.reader.worklist import Source
    from client.site.site_file import site_home
    from common.cli.writing import make_folder
    from common.errors import UsageError

    name = " ".join(reader.split())
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise UsageError("--reader is a name of 1 to 64 printable characters")
    if out is not None:
        make_folder(out, "--out")
    places = tuple(place.resolve() for place in [*(paths or []), *([folder] if folder is not None else [])])
    source = Source(home=site_home(home).path, places=places, out=out, package=package, threads=threads)
    serve(source, Wanted(reader=name, blind=blind, host=host, port=port), _tell)


def _tell(address: str, exams: int) -> None:
    from common.notice import RESEARCH_USE

    found = f"{exams} exam" if exams == 1 else f"{exams} exams"
    say(f"{RESEARCH_USE}. {found}. Open this address in one browser; it works once. Ctrl-C ends the page.")
    print(address, flush=True)
