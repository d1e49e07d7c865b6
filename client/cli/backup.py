"""``oncofed-site ledger backup`` and ``restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.cli.privacy import Home, open_ledger
from common.cli.guard import say
from common.errors import ConfigError


def register(ledger: typer.Typer) -> None:
    """Adds both commands to the group of the ledger."""
    ledger.command("backup")(ledger_backup)
    ledger.command("restore")(ledger_restore)


def ledger_backup(
    file: Annotated[Path, typer.Argument(help="File to write; as secret as the ledger's key, which is in it.")],
    home: Home = None,
) -> None:
    """Write all of the ledger into one file, with its key, readable by its owner only.

    Example: oncofed-site ledger backup /safe/north-ledger.json
    """
    from common.privacy.backup import write_backup

    with open_ledger(home) as ledger:
        head = write_backup(ledger, file)
    say(f"{file} holds {head.seq} rows and the ledger's private key: keep it on another disk, and from everybody.")


def ledger_restore(
    file: Annotated[Path, typer.Argument(help="A backup, the newest you have.")],
    statement: Annotated[
        list[Path] | None, typer.Option(help="A newer privacy statement of this site; may repeat.", show_default=False)
    ] = None,
    head: Annotated[
        Path | None, typer.Option(help="What `oncofed-hub heads` wrote at the hub.", show_default=False)
    ] = None,
    study: Annotated[
        list[Path] | None, typer.Option(help="study.yaml of a study that may have run since.", show_default=False)
    ] = None,
    assume_unbounded: Annotated[
        bool, typer.Option("--assume-unbounded", help="A study may have run that you cannot name: give the account up.")
    ] = False,
    home: Home = None,
) -> None:
    """Put the ledger together again, and charge all that may have been spent since the backup, before anything else.

    Each study that is known is charged to its end, so it cannot go on; agree on it again under another name.

    Example: oncofed-site ledger restore north-ledger.json --statement north.json --head north-head.json
    """
    from client.site.release_floor import suppose_released
    from client.site.restore import Evidence, since
    from client.site.run_keys import forget_all
    from client.site.site_file import open_real_site, site_home
    from common.privacy.backup import read_backup, restore
    from common.services.supervisor import is_held, only_one

    place = site_home(home)
    if is_held(place.path / "site.lock"):
        raise ConfigError(f"The daemon of {place.path} runs; stop it, restore the ledger, then start it again")
    with only_one(place.path / "site.lock"):  # so that it does not start meanwhile
        backup, site = read_backup(file), open_real_site(place)
        evidence = Evidence(
            statements=statement or (), heads=head, studies=study or (), assume_unbounded=assume_unbounded
        )
        forget_all(place.path)
        added = restore(site.ledger_path, backup, since(site, backup, evidence))
        suppose_released(place.path, site.cohort.members)
    say(f"The ledger is restored; {added} rows were added for what may have been spent since. See: ledger show")
