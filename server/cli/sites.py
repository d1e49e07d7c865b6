"""The commands of ``oncofed-hub`` about its register: let a site in, agree on its size, shut it out, list all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.cli.envelope import Json, print_json
from common.cli.guard import say
from common.errors import ConfigError, TrustError, UsageError
from server.cli.study import Home

if TYPE_CHECKING:
    from common.trust.kit import JoinRequest

Declared = Annotated[int, typer.Option(help="Training patients that the site declares; the register fixes it.", min=0)]


def register(app: typer.Typer) -> None:
    """Adds the commands to ``oncofed-hub``."""
    for command in (approve, agree, revoke, sites, trust_roster):
        app.command()(command)


def approve(
    request: Annotated[Path, typer.Argument(help="The request.json that the site sent.")],
    fingerprint: Annotated[str, typer.Option(help="What the site read to you by telephone.")] = "",
    unseen: Annotated[bool, typer.Option("--unseen", help="Let it in without a fingerprint: for tests only.")] = False,
    declared_patients: Declared = 0,
    home: Home = None,
) -> None:
    """Let a site in, with the keys and the number of training patients that it told you.

    Example: oncofed-hub approve request.json --fingerprint 1f2e... --declared-patients 200
    """
    from common.trust.kit import read_request
    from server.hub.home import hub_home
    from server.hub.journal import record
    from server.hub.registry import Registry

    place = hub_home(home)
    found = read_request(request)
    _check_fingerprint(found, fingerprint, unseen)
    site = Registry(place.sites_file).approve(replace(found, declared_patients=_agreed(found, declared_patients)))
    record(
        place, "approve", site=found.site, fingerprint=found.fingerprint,
        declared_patients=str(site.declared_patients), compared=str(not unseen).lower(),
    )  # fmt: skip
    say(
        f"{site.name} may connect, with {site.declared_patients} declared patients. Its fingerprint is "
        f"{found.fingerprint}"
    )


def _check_fingerprint(found: JoinRequest, fingerprint: str, unseen: bool) -> None:
    if not fingerprint and not unseen:
        raise UsageError(
            f"Have {found.site} read its fingerprint to you by telephone and give it with --fingerprint; a request "
            "that came by mail alone could be anybody's. Only a test may say --unseen instead"
        )
    if fingerprint and fingerprint.strip().lower() != found.fingerprint:
        raise TrustError(
            f"The request's fingerprint is {found.fingerprint}, the site read {fingerprint}; do not let it in"
        )


def _agreed(found: JoinRequest, said: int) -> int:
    """Returns the number that request and operator name, where one is silent the other's."""
    from common.trust.kit import check_declared

    if said and found.declared_patients and said != found.declared_patients:
        raise TrustError(
            f"{found.site}'s request declares {found.declared_patients} training patients, you say {said}; agree with "
            "the site first"
        )
    if not (said or found.declared_patients):
        raise ConfigError(
            f"{found.site}'s request declares no training patients; ask for the number and give --declared-patients. "
            "It weighs the site's updates and bounds its answers"
        )
    return check_declared(said or found.declared_patients)


def agree(
    name: Annotated[str, typer.Argument(help="Name of the site.")],
    declared_patients: Annotated[int, typer.Argument(help="Training patients that both sides agreed on.", min=1)],
    home: Home = None,
) -> None:
    """Change the number of training patients that a site declares; its site.yaml must say the same.

    Example: oncofed-hub agree north 250
    """
    from common.trust.kit import check_declared
    from server.hub.home import hub_home
    from server.hub.journal import record
    from server.hub.registry import Registry

    place = hub_home(home)
    Registry(place.sites_file).agree(name, check_declared(declared_patients))
    record(place, "agree", site=name, declared_patients=str(declared_patients))
    say(f"{name} declares {declared_patients} training patients from the next run on.")


def revoke(name: Annotated[str, typer.Argument(help="Name of the site.")], home: Home = None) -> None:
    """Shut a site out; a running hub drops it within seconds.

    Example: oncofed-hub revoke north
    """
    from server.hub.home import hub_home
    from server.hub.journal import record
    from server.hub.registry import Registry

    place = hub_home(home)
    Registry(place.sites_file).revoke(name)
    record(place, "revoke", site=name)
    say(f"{name} is revoked.")


def sites(as_json: Json = False, home: Home = None) -> None:
    """List the sites: invited, approved, revoked.

    Example: oncofed-hub sites --json
    """
    from server.hub.home import hub_home
    from server.hub.registry import Registry

    found = Registry(hub_home(home).sites_file).sites().values()
    rows: list[dict[str, Any]] = [
        {"name": s.name, "status": s.status, "changed": s.changed, "node_id": s.node_id,
         "declared_patients": s.declared_patients, "certificate_days_left": s.certificate_days_left}
        for s in found
    ]  # fmt: skip
    if as_json:
        print_json({"sites": rows})
        return
    for row in rows:
        days = row["certificate_days_left"]
        ends = "" if days is None else f", its certificate ends in {days} days"
        size = f", {row['declared_patients']} declared patients" if row["declared_patients"] else ""
        say(f"{row['name']}: {row['status']} since {row['changed']}{size}{ends}")
    if not rows:
        say("No sites yet; invite one: oncofed-hub invite NAME")


def trust_roster(
    file: Annotated[Path, typer.Argument(help="Lines of NAME KEY: what each hospital's sum-key prints.")],
    home: Home = None,
) -> None:
    """Keep the register that the hospitals of secure sums have compared, so that one with another key is named.

    The same file as theirs: without it such a hospital ends a run, and the others are named who refused.

    Example: oncofed-hub trust-roster hospitals.txt
    """
    from common.trust.hospitals import HOSPITALS, read_register, write_register
    from server.hub.home import hub_home
    from server.hub.journal import record

    place = hub_home(home)
    known = read_register(file)
    fingerprint = write_register(place.sites_file.with_name(HOSPITALS), known)
    record(place, "trust-roster", sites=" ".join(known), fingerprint=fingerprint)
    say(f"Keys of secure sums are known of {', '.join(known)}; the hospitals' fingerprint must be the same")
    print(fingerprint)
