"""``oncofed-site study``: what the privacy officer decides about one study while it is under way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from client.cli.privacy import Home, open_ledger
from common.cli.guard import Guarded, say
from common.errors import DataError

Digest = Annotated[str, typer.Argument(help="The study's digest, or its first digits.")]


class _Group(Guarded, TyperGroup):
    pass


study_app = typer.Typer(
    name="study", help="Decide about a study under way.", cls=_Group, no_args_is_help=True, rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Adds the group to ``app``."""
    app.add_typer(study_app)


@study_app.command("agree")
def study_agree(digest: Digest, home: Home = None) -> None:
    """Let a study go on although the site's patients, labels or splits are not those it began with.

    Look at what was changed first: oncofed-site data check. Statements and reports say how often it happened.

    Example: oncofed-site study agree 1f2e3d4c5b6a
    """
    from client.site.cohort_notes import agree
    from client.site.site_file import open_real_site, site_home

    study = _known(digest, home)
    changed = agree(open_real_site(site_home(home)), study)
    said = "goes on with the cohort as it is now" if changed else "has the cohort that was agreed to last"
    say(f"Study {study[:12]} {said}.")


@study_app.command("release")
def study_release(digest: Digest, home: Home = None) -> None:
    """Give back the budget that is held for a study which will not run, or not to its end.

    What it has spent stays spent. To keep it from going on, take it out of `studies` in policy.yaml.

    Example: oncofed-site study release 1f2e3d4c5b6a
    """
    from common.privacy import notes

    study = _known(digest, home)
    with open_ledger(home) as ledger:
        if notes.release(ledger.rows(), study) is None:
            raise DataError(f"No budget is held for study {study[:12]}; see: oncofed-site ledger show")
        ledger.note(lambda rows: notes.release(rows, study))
    say(f"The budget that was held for study {study[:12]} is free.")


def _known(digest: str, home: Path | None) -> str:
    """Returns the one study of the ledger whose digest begins so."""
    with open_ledger(home) as ledger:
        known = {str(row["study"]) for row in ledger.rows() if "study" in row}
    found = sorted(study for study in known if study.startswith(digest))
    if len(found) != 1:
        raise DataError(f"{len(found)} studies in the ledger begin with {digest}; see: oncofed-site ledger show")
    return found[0]
