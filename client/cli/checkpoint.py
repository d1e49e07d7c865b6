"""``oncofed-site checkpoint``: the public networks that studies start from, kept by the hospital."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from client.cli.privacy import Home
from common.cli.guard import Guarded, say
from common.cli.terminal import printable

if TYPE_CHECKING:
    from common.models.checkpoints import Checkpoint


class _Group(Guarded, TyperGroup):
    pass


checkpoint_app = typer.Typer(
    name="checkpoint", help="Keep public checkpoints that studies start from.", cls=_Group, no_args_is_help=True,
    rich_markup_mode=None,
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Adds the group to ``app``."""
    app.add_typer(checkpoint_app)


@checkpoint_app.command()
def add(
    source: Annotated[
        Path, typer.Argument(help="Folder of the checkpoint, as oncofed-sim pretrain made it, or a file of weights.")
    ],
    home: Home = None,
) -> None:
    """Keep a checkpoint, after its files and this hospital's images were compared with what its card says.

    Compare the digest with the one that the consortium agreed on. A checkpoint that was made from images of this
    hospital is refused. A file of weights says nothing of its images: ask the consortium.

    Example: oncofed-site checkpoint add /media/usb/busi
    """
    from client.site.site_file import open_undivided, site_home

    place = site_home(home)
    print(place.checkpoints.add(source, open_undivided(place.read().data)))


@checkpoint_app.command("list")
def list_kept(home: Home = None) -> None:
    """Show the checkpoints that are kept, each checked again.

    Example: oncofed-site checkpoint list
    """
    from client.site.site_file import site_home

    found = site_home(home).checkpoints.all()
    for kept in found:
        print(kept.digest, printable(_described(kept)))
    if not found:
        say("This hospital keeps no checkpoint; add one with: oncofed-site checkpoint add FOLDER")


def _described(kept: Checkpoint) -> str:
    made_from = ", ".join(f"{data.title} ({data.patients} patients)" for data in kept.card.data)
    return f"{kept.card.network} at {kept.card.image_size} px, made from {made_from}"
