"""``oncofed-site model``: into shadow, into use by two people, down, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.privacy import Home
from common.cli.envelope import Json, print_json
from common.cli.guard import say

if TYPE_CHECKING:
    from common.trust.registry import State

Digest = Annotated[str, typer.Argument(help="Beginning of a package's digest.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the journal.")]


def register(group: typer.Typer) -> None:
    """Adds the commands to the group of the model packages."""
    for command in (shadow, trial, activate, agree, watch, suspend, retire, history, key):
        group.command()(command)


def shadow(
    digest: Digest,
    gate: Annotated[Path, typer.Option(help="YAML file of what it must show; fixed from now on.")],
    home: Home = None,
) -> None:
    """Run a package beside the active one: it answers every exam, and leaves a record only.

    The gate file is copied and its digest goes into the journal before the first exam.

    Example: oncofed-site model shadow 3f9a --gate gate.yaml
    """
    from client.site.lifecycle.moves import to_shadow
    from client.site.site_file import site_home

    found = to_shadow(site_home(home).path, digest, gate, _who())
    say(f"{found[:16]} runs in shadow from now on.")


def trial(as_json: Json = False, home: Home = None) -> None:
    """Show how the package in shadow does: where it and the active one part, and its gate.

    Labels are needed only for the exams on which the two part; they are listed.

    Example: oncofed-site model trial
    """
    from client.site.lifecycle.changes import trial as tried
    from client.site.site_file import site_home
    from common.monitoring.shadow import mcnemar

    found = tried(site_home(home).path)
    apart = mcnemar(found.pairs)
    items = [{"name": item.name, "holds": item.holds, "found": item.found} for item in found.items]
    if as_json:
        print_json({"passed": found.passed, "gate": found.gate, "items": items, "pairs": apart})
        return
    print(f"{apart['pairs']} patients answered by both, on {apart['discordant']} of them they part, "
          f"{apart['labelled']} of these have a label")  # fmt: skip
    for name, counts in apart["right_alone"].items():
        p = apart["p"][name]
        print(f"  {name}: the active one alone right {counts['active']}, the one in shadow alone {counts['shadow']}; "
              f"McNemar exact p {'-' if p is None else format(p, '.3g')}")  # fmt: skip
    for item in items:
        print(f"  {'holds' if item['holds'] else 'FAILS':5} {item['name']}: {item['found']}")
    print("The gate holds." if found.passed else "The gate does not hold.")
    say(f"To label: {', '.join(apart['to_label'][:20]) or 'nothing'}")


def activate(
    digest: Digest,
    why: Why = "",
    home: Home = None,
) -> None:
    """Propose that a package becomes the active one, or becomes it again; two people must agree to it.

    One in shadow must have passed its gate. One that was active before is a rollback, or an appeal after alarms.

    Examples:
      oncofed-site model activate 3f9a

      oncofed-site model activate 77aa --why "back to the one before the new scanner"
    """
    from client.site.lifecycle.moves import propose_activation
    from client.site.site_file import site_home

    name, body = propose_activation(site_home(home).path, digest, why)
    say(f"Proposed ({body['cause']}): {body['package'][:16]} becomes active"
        + (f" and {body['replaces'][:16]} is retired." if body["replaces"] else "."))  # fmt: skip
    say(f"Two people sign with: oncofed-site model agree {name[:12]} --name NAME --key FILE")
    print(name)


def agree(
    proposal: Annotated[str, typer.Argument(help="Beginning of the proposal's identity.")],
    name: Annotated[str, typer.Option(help="Your name, as people.yaml has it.")],
    key: Annotated[Path, typer.Option(help="Your own key.")],
    home: Home = None,
) -> None:
    """Sign a proposal; with the second person's signature it is done.

    Example: oncofed-site model agree 9c1d --name anna --key /media/anna/key
    """
    from client.site.lifecycle.agreements import sign
    from client.site.lifecycle.moves import ACTIVATE
    from client.site.lifecycle.moves import activate as put_into_use
    from client.site.monitor.references import freeze
    from client.site.site_file import site_home
    from common.trust.agreement import identity

    place = site_home(home).path
    body, both = sign(place, proposal, name, key)
    if not both:
        say("Signed. A second person must sign too.")
        return
    done = (put_into_use if body["do"] == ACTIVATE else freeze)(place, identity(body))
    said = "is active now" if body["do"] == ACTIVATE else "is the monitor's reference now"
    say(f"Signed by two. {done[:16]} {said}.")


def watch(digest: Digest, why: Why = "", home: Home = None) -> None:
    """Put the active package on watch: it goes on, and the next new alarm suspends it.

    Example: oncofed-site model watch 3f9a --why "readers complain"
    """
    _lower(digest, "watch", why, home)


def suspend(digest: Digest, why: Why = "", home: Home = None) -> None:
    """Take a package out of use at once; one person can.

    Example: oncofed-site model suspend 3f9a --why "new scanner"
    """
    _lower(digest, "suspended", why, home)


def retire(digest: Digest, why: Why = "", home: Home = None) -> None:
    """Take a package out of use for good; only two people can bring it back.

    Example: oncofed-site model retire 3f9a
    """
    _lower(digest, "retired", why, home)


def history(as_json: Json = False, home: Home = None) -> None:
    """Show every move of every package, after the site's signatures were checked.

    A pointer that a crash left behind its journal is made again.

    Example: oncofed-site model history
    """
    from client.site.lifecycle.registry import SiteRegistry
    from client.site.site_file import site_home
    from common.cli.terminal import printable

    kept = SiteRegistry(site_home(home).path)
    moves = kept.read().moves
    if kept.mend():
        say("The pointer was not the journal's latest, and was made again.")
    if as_json:
        print_json({"moves": [move.to_json() for move in moves]})
        return
    for move in moves:
        note = f": {printable(move.note)}" if move.note else ""
        print(f"{move.time} {move.package[:16]} {move.to:9} {move.cause} by {printable(', '.join(move.by))}{note}")
    if not moves:
        say("No package was moved yet; begin with: oncofed-site model shadow DIGEST --gate FILE")


def key(
    path: Annotated[Path, typer.Argument(help="File of the key, best on the person's own medium.")],
) -> None:
    """Make a person's key, and print what people.yaml must say of it.

    Example: oncofed-site model key /media/anna/key
    """
    from common.trust.signing import SiteKey

    print(SiteKey.open(path).public_hex)
    say('Have the keeper of the site\'s folder add the line `NAME: "KEY"` to people.yaml.')


def _lower(digest: str, to: State, why: str, home: Path | None) -> None:
    from client.site.lifecycle.moves import lower
    from client.site.site_file import site_home

    found = lower(site_home(home).path, digest, to, _who(), why)
    say(f"{found[:16]} is {'on watch' if to == 'watch' else to} now.")


def _who() -> str:
    """Returns the account that types; the journal is signed by the site, not by it."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown account"
