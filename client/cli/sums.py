"""Commands of ``oncofed-site`` for secure sums: this site's key, and the register of the hospitals it sums with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common.cli.guard import say

Home = Annotated[
    Path | None,
    typer.Option(help="The site's folder [default: ONCOFED_SITE_HOME, else ~/.oncofed/site].", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Adds the commands to ``app``."""
    app.command()(sum_key)
    app.command()(trust_roster)


def sum_key(home: Home = None) -> None:
    """Print the line by which other hospitals know this one in secure sums; the key is made on first use.

    Example: oncofed-site sum-key > north.txt
    """
    from client.site.site_file import site_home
    from common.trust.hospitals import own_line

    place = site_home(home)
    print(" ".join(own_line(place.read().name, place.sum_key)))


def trust_roster(
    file: Annotated[Path, typer.Argument(help="Lines of NAME KEY, one a hospital: what each one's sum-key prints.")],
    home: Home = None,
) -> None:
    """Pin the hospitals that this site sums with. Compare the fingerprint with each of them, by telephone.

    The hub may collect the lines, and nobody has to believe it: a hospital that it invents, or whose key it changes,
    changes the fingerprint.

    Example: oncofed-site trust-roster hospitals.txt
    """
    from client.site.site_file import site_home
    from common.trust.hospitals import own_line, pin_register, read_register

    place = site_home(home)
    known = read_register(file)
    fingerprint = pin_register(place.register, known, own=own_line(place.read().name, place.sum_key))
    say(f"This site sums with {', '.join(known)}. Each of them must read you the same fingerprint: {fingerprint}")
    print(fingerprint)
