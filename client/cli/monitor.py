"""``oncofed-site monitor``: does the model still do here what it did when people agreed that it may?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from client.cli.privacy import Home
from common.cli.envelope import Json, print_json
from common.cli.guard import Guarded, say


class _Group(Guarded, TyperGroup):
    pass


monitor_app = typer.Typer(
    name="monitor", help="Watch the model in use: inputs, scores, outcomes, silence.", cls=_Group,
    invoke_without_command=True, rich_markup_mode=None,
)  # fmt: skip
Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="A day, as 2026-01-31.")]


def register(app: typer.Typer) -> None:
    """Adds the group to ``app``."""
    app.add_typer(monitor_app)


@monitor_app.callback()
def monitor(
    context: typer.Context,
    page: Annotated[
        Path | None, typer.Option(help="File of the page [default: monitor/monitor.html of the site].")
    ] = None,
    only_look: Annotated[bool, typer.Option("--only-look", help="Move no model, whatever alarms.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Judge the records and labels of this site. A first alarm puts the model on watch, a further one suspends it.

    Run it every day. Each alarm says how often it is false and what it can miss. Nothing of this leaves.

    Example: oncofed-site monitor
    """
    if context.invoked_subcommand is not None:
        return
    from datetime import UTC

    from client.site.monitor.labels import FOLDER
    from client.site.monitor.look import monitor as look
    from client.site.site_file import site_home
    from common.reporting.monitor_page import write_page

    place = site_home(home).path
    found = look(place, datetime.now(UTC), move=not only_look)
    path = write_page(found, page or place / FOLDER / "monitor.html")
    if as_json:
        print_json(found)
    else:
        for line in lines(found):
            print(line)
    say(f"Page: {path}")


@monitor_app.command()
def labels(
    file: Annotated[Path, typer.Argument(help="CSV with the columns exam (or accession), label, source, date.")],
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Tell the monitor what became known: source is reader, biopsy or interval; label is malignant or benign.

    A label that says otherwise on a later day replaces the one before, which is kept. What is known already is counted.

    Example: oncofed-site monitor labels pathology.csv
    """
    import dataclasses
    from datetime import UTC

    from client.site.monitor.labels import add_labels
    from client.site.packages import RECORDS
    from client.site.site_file import site_home
    from common.inference.record import records
    from common.monitoring.labels import read_labels

    place = site_home(home).path
    exams = {record.exam for record in records(place / RECORDS).records}
    told = add_labels(place, read_labels(file, datetime.now(UTC).date()), exams)
    counts = dataclasses.asdict(told) | {"new": len(told.new)}
    if as_json:
        print_json(counts)
    say(", ".join(f"{count} {name}" for name, count in counts.items()) + ".")


@monitor_app.command()
def affected(
    release: Annotated[str, typer.Option("--release", help="Beginning of a package's digest.")],
    as_json: Json = False,
    home: Home = None,
) -> None:
    """List the exams that a release answered, so that they can be read again. The list stays at the site.

    Example: oncofed-site monitor affected --release 3f9a
    """
    from client.site.monitor.look import affected as found_by
    from client.site.site_file import site_home
    from common.cli.terminal import printable

    found = found_by(site_home(home).path, release)
    rows = [{"exam": one.exam, "made": one.made.isoformat(), "state": one.state, "above_threshold": one.above_threshold,
             "abstained": one.abstained} for one in found]  # fmt: skip
    if as_json:
        print_json({"model": found[0].model, "exams": rows})
        return
    for one in found:
        side = "no answer" if one.abstained else "above" if one.above_threshold else "below"
        print(f"{one.made:%Y-%m-%d} {one.state:6} {side:9} {printable(one.exam)}")
    say(f"{len(found)} exams.")


@monitor_app.command("re-reference")
def re_reference(first: Day, last: Day, home: Home = None) -> None:
    """Propose a new frozen reference, as after an expected change of the scanner; two people must agree to it.

    The reference before it is kept. The streams begin anew after the last day.

    Example: oncofed-site monitor re-reference --first 2026-03-01 --last 2026-03-31
    """
    from client.site.monitor.look import look
    from client.site.monitor.references import propose_reference
    from client.site.site_file import site_home

    place = site_home(home).path
    name, body = propose_reference(place, look(place).model, first.date(), last.date())
    say(f"Proposed: {body['exams']} exams from {body['first']} to {body['last']}.")
    say(f"Two people sign with: oncofed-site model agree {name[:12]} --name NAME --key FILE")
    print(name)


@monitor_app.command()
def report(
    quarter: Annotated[str, typer.Option(help="As 2026Q3; it must be over.")],
    out: Annotated[Path, typer.Option(help="File to write, for the hub.")],
    package: Annotated[
        str,
        typer.Option(help="Beginning of a package's digest [default: the one in use then].", show_default=False),
    ] = "",
    noise: Annotated[
        int, typer.Option(help="Standard deviation of the noise, in patients [default: the ceiling's].", min=0)
    ] = 0,
    home: Home = None,
) -> None:
    """Write what the hub may know of a quarter: counts of patients by score and answer, with noise, signed.

    Charged to the monitoring account before it is drawn (`monitoring_ceiling` of the policy, 0 until it is raised). The
    same quarter again is the same file. Nothing of a case leaves.

    Example: oncofed-site monitor report --quarter 2026Q3 --out 2026Q3.json
    """
    from datetime import UTC

    from client.site.monitor.hub_report import report as report_of
    from client.site.site_file import site_home
    from common.trust.durable import write_durably

    found, new = report_of(site_home(home), quarter, datetime.now(UTC), package, noise)
    write_durably(out, found.text())
    say(
        f"{out}: {'drawn and charged now' if new else 'as it was drawn before, nothing was charged'}. Noise of "
        f"{found.deviation} patients on each count; what it cost: oncofed-site ledger show"
    )
    print(out)


def lines(found: Mapping[str, Any]) -> list[str]:
    """Returns what a person reads on a terminal."""
    rows = [f"{found['notice']}. Model {found['model'][:16]}, {found['state']}; {found['exams']} exams, "
            f"{found['abstained']} without an answer, {found['labels']} labels."]  # fmt: skip
    if found["moved"]:
        rows.append(f"MOVED to {found['moved']['to']} ({found['moved']['cause']}).")
    for stream in found["streams"]:
        rows.append(f"{stream['stream']}: {len(stream['alarms'])} alarms of {len(stream['claims'])} tests")
        for alarm in stream["alarms"]:
            rows += [f"  ALARM {alarm['measure']} at {alarm['at']}: {alarm['found']}",
                     f"    {alarm['rule']}; false alarms: {alarm['false_alarms']}"]  # fmt: skip
        rows += [f"  {note}" for note in stream["notes"]]
        rows += [
            f"  quiet {one['measure']}: can see {one['smallest']}"
            for one in stream["claims"] if one["measure"] not in {alarm["measure"] for alarm in stream["alarms"]}
        ]  # fmt: skip
    return rows
