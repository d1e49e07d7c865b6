"""``oncofed-hub monitor`` and ``propose-update``: what sites tell of a model in use, and the study that it suggests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from common.cli.envelope import Json, print_json
from common.cli.guard import Guarded, say
from server.cli.study import Home

if TYPE_CHECKING:
    from common.monitoring.quarters import QuarterRow


class _Group(Guarded, TyperGroup):
    pass


monitor_app = typer.Typer(
    name="monitor", help="What sites tell of a model in use, a quarter each, with noise.", cls=_Group,
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Adds the group and the command to ``oncofed-hub``."""
    app.add_typer(monitor_app)
    app.command()(propose_update)


@monitor_app.command()
def add(
    file: Annotated[list[Path], typer.Argument(help="What sites wrote with: oncofed-site monitor report.")],
    home: Home = None,
) -> None:
    """Keep the reports of sites, after site, signature, package, quarter and counts were checked.

    Example: oncofed-hub monitor add north-2026Q3.json south-2026Q3.json
    """
    from datetime import UTC, datetime

    from server.hub.home import hub_home
    from server.hub.journal import record
    from server.hub.watched import add as keep

    place = hub_home(home)
    for path in file:
        report, new = keep(place, path, datetime.now(UTC).date())
        if new:
            record(place, "monitor", site=report.site, quarter=report.quarter, package=report.package)
        say(f"{report.site}, {report.quarter}, package {report.package[:16]}: {'kept' if new else 'known already'}.")
        if report.seeded:
            say(f"The noise of {report.site} was seeded for a test, so it protects nobody.")


@monitor_app.command()
def show(
    page: Annotated[Path | None, typer.Option(help="File of an HTML page too.", show_default=False)] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show each site's quarters, and which sites drift from their first one. All figures are of noised counts.

    Example: oncofed-hub monitor show --page monitor.html
    """
    from common.monitoring.quarters import drifting, promise, rows
    from common.notice import RESEARCH_USE
    from common.reporting.quarters_page import write_page
    from server.hub.home import hub_home
    from server.hub.watched import kept

    place = hub_home(home)
    place.config()
    found = rows(kept(place))
    drifts = sorted({row.site for row in drifting(found)})
    document = {
        "notice": RESEARCH_USE, "promise": promise(found), "drifting": drifts,
        "quarters": [row.to_json() for row in found],
    }  # fmt: skip
    if page is not None:
        say(f"Page: {write_page(document, page)}")
    if as_json:
        print_json(document)
        return
    for row in found:
        print(_line(row))
    print(f"Drifting: {', '.join(drifts) or 'no site'}. {document['promise']}.")


def _line(row: QuarterRow) -> str:
    start = f"{row.site} {row.quarter} {row.package[:12]}: about {row.patients} patients"
    if row.above is None:
        return f"{start}; {row.note}"
    rates = f"{start}, {row.above:.3f} (+-{row.above_error:.3f}) above, {row.abstained:.3f} abstained"
    if not row.tests:
        return f"{rates}; {row.note}"
    tests = ", ".join(
        f"{one.measure} p {one.p:.2g}{' DRIFTS' if one.drifts else ''} (sees {one.smallest:.2f})" for one in row.tests
    )
    return f"{rates}, PSI {row.psi:.3f} (by chance {row.psi_by_chance:.3f}); {tests}"


def propose_update(
    run: Annotated[Path, typer.Argument(help="Folder of the run whose model is in use.")],
    out: Annotated[Path, typer.Option(help="File of the study to write; it must not be there yet.")],
    anyway: Annotated[str, typer.Option(help="Why the study is wanted although nothing drifts.")] = "",
    home: Home = None,
) -> None:
    """Write the study that the drift of a model in use suggests, with the evidence; it starts nothing.

    Example: oncofed-hub propose-update runs/x --out next.yaml
    """
    from common.errors import ConfigError
    from common.trust.durable import write_durably
    from server.hub.home import hub_home
    from server.hub.journal import record
    from server.hub.proposal import proposal

    place = hub_home(home)
    text = proposal(place, run, anyway)
    if out.exists():
        raise ConfigError(f"{out} is there already; name a new file with --out")
    write_durably(out, text)
    record(place, "propose-update", run=run.name, anyway=" ".join(anyway.split()))
    say(f"{out} says what it is for. Read it, then: oncofed-hub study {out}")
    print(out)
