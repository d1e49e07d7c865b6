"""Commands of ``oncofed-site`` around the daemon: join, start, status, egress, pause, resume, leave, support-bundle."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from client.cli import sums
from common.cli.envelope import Json, print_json
from common.cli.guard import say
from common.cli.terminal import TIMED, LineFormatter, printable
from common.errors import NetworkError
from common.version import version_line

Home = Annotated[
    Path | None,
    typer.Option(help="The site's folder [default: ONCOFED_SITE_HOME, else ~/.oncofed/site].", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Adds the commands to ``app``."""
    for command in (join, trust_hub, doctor, start, status, egress, endorse, pause, resume, leave, support_bundle):
        app.command()(command)
    sums.register(app)


def join(
    kit: Annotated[Path, typer.Argument(help="The zip that the hub sent.")],
    new_keys: Annotated[bool, typer.Option("--new-keys", help="Make new keys, after the old were revoked.")] = False,
    declared_patients: Annotated[
        int, typer.Option(help="Public, rounded size of your training cohort; the hub's register fixes it.", min=0)
    ] = 0,
    another_hub: Annotated[
        bool, typer.Option("--another-hub", help="The kit may be of another hub than this home knows.")
    ] = False,
    home: Home = None,
) -> None:
    """Make this site's keys and the request for the hub.

    Example: oncofed-site join north.kit.zip --declared-patients 200
    """
    from client.node.join import join as join_hub
    from client.site.proof import pinned_hub
    from client.site.site_file import site_home
    from common.trust.hub_key import hub_fingerprint

    place = site_home(home)
    request = join_hub(place, kit, new_keys=new_keys, declared_patients=declared_patients, another_hub=another_hub)
    fingerprint = hub_fingerprint(pinned_hub(place.hub_key))
    say(f"The hub signs with the key {fingerprint}: its operator must read you the same (oncofed-hub key).")
    say(f"Send {place.path / 'request.json'} to the hub, and read its operator this fingerprint: {request.fingerprint}")
    say(f"Then edit {place.site_file} and {place.path / 'policy.yaml'}, and run: oncofed-site doctor")
    print(request.fingerprint)


def trust_hub(
    key: Annotated[str, typer.Argument(help="The key that oncofed-hub key prints.")],
    home: Home = None,
) -> None:
    """Pin the key with which the hub signs its requests; after the hub made a new one, or in a home without one.

    Example: oncofed-site trust-hub 8f3a...
    """
    from client.site.proof import pin_hub
    from client.site.site_file import site_home

    place = site_home(home)
    place.read()
    fingerprint = pin_hub(place.hub_key, key)
    say(f"The site answers the hub of the key {fingerprint} and no other: its operator must read you the same.")
    print(fingerprint)


def doctor(as_json: Json = False, home: Home = None) -> None:
    """Check what goes wrong in hospitals, and say how to mend it; ends with 0 when nothing failed.

    Example: oncofed-site doctor
    """
    from dataclasses import asdict

    from client.checks.doctor import examine, exit_code
    from client.site.site_file import site_home

    findings = examine(site_home(home))
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]}, "failed" if exit_code(findings) else "ok")
    else:
        for finding in findings:
            fix = f" To do: {finding.fix}." if finding.fix else ""
            print(printable(f"{finding.status:4} {finding.check}: {finding.found}.{fix}"))
    raise typer.Exit(exit_code(findings))


def start(home: Home = None) -> None:
    """Run the site in the foreground until SIGTERM; for systemd or a terminal.

    Example: oncofed-site start
    """
    from client.node.daemon import SiteDaemon
    from client.site.site_file import site_home

    logger = logging.getLogger("oncofed")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(TIMED))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    daemon = SiteDaemon(site_home(home))
    say("The site starts. Research use only - not a medical device.")
    daemon.run()


def status(
    check: Annotated[bool, typer.Option("--check", help="End with 7 unless it runs or is paused.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Say whether the site runs, what it has spent and what left last.

    Example: oncofed-site status --json
    """
    from client.node.overview import overview
    from client.site.site_file import site_home

    found = overview(site_home(home))
    down = check and found["status"] not in ("running", "paused")
    if as_json:
        print_json(found, "failed" if down else "ok")
    else:
        _say_status(found)
    if down:
        raise typer.Exit(NetworkError.exit_code)


def _say_status(found: dict[str, Any]) -> None:
    say(f"Site {found['name']}: {found['status']}")
    say(version_line())
    for name, process in found["processes"].items():
        say(f"{name}: {'runs' if process['pid'] else 'does not run'}, started {process['lives']} times")
    budget, last = found["budget"], found["last_answer"]
    if budget["problem"] is None:
        spent = budget["epsilon"] if isinstance(budget["epsilon"], str) else f"{budget['epsilon']:.3f}"
        say(f"epsilon spent: {spent} of {budget['ceiling']:g}, in {budget['charges']} charges")
    else:
        say("epsilon spent: unknown, ledger or policy cannot be read; run: oncofed-site doctor")
    said = f"the last at {last['time']} ({last['refusal'] or last['purpose']})" if last else "none so far"
    say(f"answers: {found['answers']}, {said}")


def egress(
    since: Annotated[str, typer.Option(help="Only what left since: 7d, 12h, 30m, or an ISO time.")] = "",
    fields: Annotated[bool, typer.Option("--fields", help="Each field with its size and hash.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show exactly what left this site, and when.

    Example: oncofed-site egress --since 7d
    """
    from client.site.egress_log import parse_since, read_egress, sentence
    from client.site.site_file import site_home

    place = site_home(home)
    place.read()
    found = read_egress(place.egress, parse_since(since) if since else None)
    if as_json:
        print_json(found.to_json())
        return
    for row in found.messages:
        print("\n".join(sentence(row, fields=fields)), file=sys.stderr)
    say(f"{len(found.messages)} messages left, {found.to_json()['bytes']} bytes, {found.torn} torn lines.")


def endorse(
    run: Annotated[str, typer.Argument(help="The run whose model to sign; none: list them.")] = "",
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("endorsement.json"),
    home: Home = None,
) -> None:
    """Sign the release of a model that this site has scored itself; the hub needs as many as the study says.

    Example: oncofed-site endorse 3f2a9c0d11e84b57 --out north.json
    """
    from client.site.scored import endorse as sign
    from client.site.scored import scored
    from client.site.site_file import site_home
    from common.trust.durable import write_durably
    from common.trust.signing import SiteKey

    place = site_home(home)
    place.read()
    if not run:
        for note in scored(place.path):
            say(f"{note['run']}: study {note['study_name']}, scored {note['time']}, weights {note['weights'][:16]}")
        return
    noted, document = sign(place.path, run, SiteKey.read(place.signing_key))
    write_durably(out, json.dumps(document, indent=2) + "\n")
    say(f"Signed: study {noted['study_name']}, weights {noted['weights'][:16]}. Send {out} to the hub.")
    print(out)


def pause(home: Home = None) -> None:
    """Refuse every new request until resumed, also after a restart; the daemon stays connected.

    Example: oncofed-site pause
    """
    from client.site.pause import pause as pause_site
    from client.site.site_file import site_home

    pause_site(site_home(home))
    say("The site is paused: new requests are refused (unavailable); one that is being answered ends as usual.")
    say("Go on with: oncofed-site resume")


def resume(home: Home = None) -> None:
    """Answer again after a pause.

    Example: oncofed-site resume
    """
    from client.site.pause import resume as resume_site
    from client.site.site_file import site_home

    resume_site(site_home(home))
    say("The site answers again.")


def leave(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: Home = None,
) -> None:
    """Stop for good, and write the notice for the hub; nothing is deleted.

    Example: oncofed-site leave --yes
    """
    from client.site.pause import leave as leave_hub
    from client.site.site_file import site_home

    place = site_home(home)
    settings = place.read()
    if not yes:
        typer.confirm(f"Shall {settings.name} stop answering {settings.hub} for good?", abort=True, err=True)
    notice = leave_hub(place)
    say(f"{settings.name} has left and its daemon has ended.")
    say(f"Send {notice} to the hub's operator, who runs: oncofed-hub revoke {settings.name}")
    ledger = place.path / settings.ledger
    say(
        f"Keep {ledger} and what stands beside it with .key and .head, {place.path / 'studies'}, and {place.egress}: "
        "they are the proof of what was spent and sent, and count when these patients join another study."
    )
    say(f"Once the hub has revoked it, {place.node_key} is of no use and may be destroyed.")
    print(notice)


def support_bundle(
    out: Annotated[Path, typer.Argument(help="The zip to write.")],
    home: Home = None,
) -> None:
    """Write what helps somebody outside to help: no path, identifier or key in it. Nothing is sent.

    Example: oncofed-site support-bundle help.zip
    """
    from client.checks.support import write_bundle
    from client.site.site_file import site_home

    write_bundle(site_home(home), out)
    say(f"Look through {out}, then send it. Words that are not the programs' own were removed from it.")


def main() -> None:
    """Runs these commands alone; ``oncofed-site`` has them beside its others."""
    from common.cli.guard import guard

    app = typer.Typer(name="oncofed-site", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    register(app)
    with guard():
        app()


if __name__ == "__main__":
    main()
