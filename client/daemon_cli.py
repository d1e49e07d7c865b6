"""Commands of ``oncofed-site`` around the daemon: join, start, status, pause, resume."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from common.guard import say

Home = Annotated[
    Path | None,
    typer.Option(help="The site's folder [default: ONCOFED_SITE_HOME, else ~/.oncofed/site].", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable answer on stdout.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to ``app``."""
    for command in (join, doctor, start, status, pause, resume):
        app.command()(command)


def join(
    kit: Annotated[Path, typer.Argument(help="The zip that the hub sent.")],
    new_keys: Annotated[bool, typer.Option("--new-keys", help="Make new keys, after the old were revoked.")] = False,
    home: Home = None,
) -> None:
    """Make this site's keys and the request for the hub.

    Example: oncofed-site join north.kit.zip
    """
    from client.join import join as join_hub
    from client.site_file import site_home

    place = site_home(home)
    request = join_hub(place, kit, new_keys=new_keys)
    say(f"Send {place.path / 'request.json'} to the hub, and read its operator this fingerprint: {request.fingerprint}")
    say(f"Then edit {place.site_file} and {place.path / 'policy.yaml'}, and run: oncofed-site doctor")
    print(request.fingerprint)


def doctor(json_: Json = False, home: Home = None) -> None:
    """Check what goes wrong in hospitals, and say how to mend it; ends with 0 when nothing failed.

    Example: oncofed-site doctor
    """
    from dataclasses import asdict

    from client.doctor import examine, exit_code
    from client.site_file import site_home

    findings = examine(site_home(home))
    if json_:
        print(json.dumps({"schema_version": 1, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            fix = f" To do: {finding.fix}." if finding.fix else ""
            say(f"{finding.status:4} {finding.check}: {finding.found}.{fix}")
    raise typer.Exit(exit_code(findings))


def start(home: Home = None) -> None:
    """Run the site in the foreground until SIGTERM; for systemd or a terminal.

    Example: oncofed-site start
    """
    from client.daemon import SiteDaemon
    from client.site_file import site_home

    logger = logging.getLogger("oncofed")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    daemon = SiteDaemon(site_home(home))
    say("The site starts. Research use only - not a medical device.")
    daemon.run()


def status(json_: Json = False, home: Home = None) -> None:
    """Say whether the site runs.

    Example: oncofed-site status --json
    """
    from client.daemon import state
    from client.site_file import site_home

    found = state(site_home(home))
    if json_:
        print(json.dumps(found, indent=2))
        return
    say(f"Site: {found['status']}")
    for name, process in found["processes"].items():
        say(f"{name}: {'runs' if process['pid'] else 'does not run'}, started {process['lives']} times")


def pause(home: Home = None) -> None:
    """Stop answering until resumed; the daemon stays.

    Example: oncofed-site pause
    """
    from client.site_file import site_home

    site_home(home).paused.touch()
    say("The site is paused; it answers nobody. Go on with: oncofed-site resume")


def resume(home: Home = None) -> None:
    """Answer again after a pause.

    Example: oncofed-site resume
    """
    from client.site_file import site_home

    site_home(home).paused.unlink(missing_ok=True)
    say("The site answers again.")


def main() -> None:
    """Runs these commands alone; ``oncofed-site`` has them beside its others."""
    from common.guard import guard

    app = typer.Typer(name="oncofed-site", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    register(app)
    with guard():
        app()


if __name__ == "__main__":
    main()
