"""``oncofed-hub``: the aggregator of a consortium.

Nothing heavy is imported before a command runs, so that ``--help`` is instant.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from common.cli.command_line import command_line
from common.cli.guard import say
from common.cli.terminal import TIMED, LineFormatter
from server.cli import heads as heads_cli
from server.cli import monitor as monitor_cli
from server.cli import sites as sites_cli
from server.cli.study import Home, register

HELP = """The hub of a consortium: it invites hospitals, runs the study with them, and keeps its reports.

Research use only - not a medical device.

Examples:

  oncofed-hub init --address hub.example.org:9443 data=manifest privacy.epsilon=3

  oncofed-hub invite north

  oncofed-hub approve request.json --fingerprint 1f2e...

  oncofed-hub start

  oncofed-hub run

  oncofed-hub study next.yaml

Exit codes: 0 ok, 2 usage, 3 config, 4 data, 5 trust, 6 budget refused, 7 network, 8 run PARTIAL or FAILED,
70 bug, 130 interrupted.
"""


app = command_line("oncofed-hub", HELP)


@app.command()
def init(
    overrides: Annotated[list[str] | None, typer.Argument(help="Hydra overrides of the study.")] = None,
    address: Annotated[str, typer.Option(help="host:port that sites dial.")] = "127.0.0.1:9443",
    bind: Annotated[str, typer.Option(help="Address that the hub listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port that the hub listens on.")] = 9443,
    inner_port: Annotated[int, typer.Option(help="Port of the SuperLink behind the proxy, on 127.0.0.1.")] = 9444,
    proxy: Annotated[bool, typer.Option(help="Have nginx ask callers for their certificate.")] = True,
    name: Annotated[list[str] | None, typer.Option(help="Another name for the certificate; may repeat.")] = None,
    consortium: Annotated[str, typer.Option(help="Name of the consortium.")] = "consortium",
    home: Home = None,
) -> None:
    """Make the hub: its authority, its certificate, its study.

    Example: oncofed-hub init --address hub.org:9443
    """
    from common.trust.address import check_address
    from server.hub.home import checked_config, create, hub_home
    from server.hub.journal import record

    host, _ = check_address(address)
    names = tuple(dict.fromkeys([host, *(name or ())]))
    place = hub_home(home)
    config = checked_config(
        name=consortium,
        bind=bind,
        port=port,
        proxy=proxy,
        inner_port=inner_port,
        address=address,
        names=names,
        overrides=tuple(overrides or ()),
    )
    create(place, config)
    study = config.study()
    record(place, "init", study=study.digest())
    say(f"The hub is in {place.path}. Study {study.name}: {study.digest()}")
    say("Next, for each hospital: oncofed-hub invite NAME")


@app.command()
def invite(name: Annotated[str, typer.Argument(help="Short name of the site.")], home: Home = None) -> None:
    """Write a startup kit for a hospital, without any private key.

    Example: oncofed-hub invite north
    """
    from common.trust.kit import Kit, write_kit
    from server.hub.home import hub_home
    from server.hub.journal import record
    from server.hub.registry import Registry
    from server.hub.signing_key import public_key

    place = hub_home(home)
    config = place.config()
    study = config.study()
    site = Registry(place.sites_file).invite(name)
    kit = Kit(
        site=name,
        hub=config.address,
        hub_key=public_key(place),
        invitation=site.invitation,
        study_digest=study.digest(),
        study=study.travelling(),
        ca=place.ca.read_text(encoding="utf-8"),
    )
    path = place.path / "kits" / f"{name}.kit.zip"
    path.parent.mkdir(exist_ok=True, mode=0o700)
    write_kit(path, kit)
    record(place, "invite", site=name)
    say(f"Send {path} to {name}; it holds no private key. They answer with request.json.")
    print(path)


@app.command()
def rotate(home: Home = None) -> None:
    """Make new certificates and secrets for a hub that is stopped; start it after it.

    Example: oncofed-hub rotate
    """
    from server.hub.home import hub_home
    from server.hub.home import rotate as renew
    from server.hub.journal import record

    place = hub_home(home)
    renew(place, place.config().names)
    record(place, "rotate")
    say("The server has a new certificate; start the hub. Sites need nothing: the authority is the same.")


@app.command()
def key(
    new: Annotated[bool, typer.Option("--new", help="Make a new one; every site must then pin it.")] = False,
    home: Home = None,
) -> None:
    """Print the public key with which the hub signs requests, and its fingerprint for the telephone.

    Example: oncofed-hub key
    """
    from common.trust.hub_key import hub_fingerprint
    from server.hub.home import hub_home
    from server.hub.journal import record
    from server.hub.signing_key import public_key, renew_signing_key

    place = hub_home(home)
    place.config()
    found = renew_signing_key(place) if new else public_key(place)
    if new:
        record(place, "key", fingerprint=hub_fingerprint(found))
        say("A new key. No site answers until it has pinned it: oncofed-site trust-hub KEY")
    say(f"Its fingerprint is {hub_fingerprint(found)}; read it to whoever asks by telephone.")
    print(found)


@app.command()
def proxy(home: Home = None) -> None:
    """Print the nginx configuration that the hub writes for its proxy, without the secret in it.

    Example: oncofed-hub proxy
    """
    from server.hub.home import hub_home
    from server.hub.proxy import proxy_files

    place = hub_home(home)
    text = proxy_files(place).config
    print(text.replace(place.proxy_secret.read_text(encoding="ascii"), "(secret)"), end="")


@app.command()
def start(home: Home = None) -> None:
    """Run the hub in the foreground until SIGTERM; for systemd or a terminal.

    Example: oncofed-hub start
    """
    from server.hub.daemon import HubDaemon
    from server.hub.home import hub_home

    _log()
    place = hub_home(home)
    config = place.config()
    where = f"{config.bind}:{config.port}, where hospitals dial {config.address}"
    say(f"The hub starts on {where}. Research use only - not a medical device.")
    HubDaemon(place).run()


register(app)
sites_cli.register(app)
heads_cli.register(app)
monitor_cli.register(app)


def _log() -> None:
    logger = logging.getLogger("oncofed")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(TIMED))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
