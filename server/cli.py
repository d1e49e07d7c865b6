"""``oncofed-hub``: the aggregator of a consortium.

Nothing heavy is imported before a command runs, so that ``--help`` is instant.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from common.errors import FederationError, NetworkError
from common.guard import Guarded, say

if TYPE_CHECKING:
    from server.hub.home import HubHome

HELP = """The hub of a consortium: it invites hospitals, runs the study with them, and keeps its reports.

Research use only - not a medical device.

Examples:

  oncofed-hub init --address hub.example.org:9443 data=manifest privacy.epsilon=3

  oncofed-hub invite north

  oncofed-hub approve request.json

  oncofed-hub start

  oncofed-hub run

  oncofed-hub study next.yaml

Exit codes: 0 ok, 2 usage, 3 config, 4 data, 5 trust, 6 budget refused, 7 network, 8 run PARTIAL or FAILED,
70 bug, 130 interrupted.
"""


class _Group(Guarded, TyperGroup):
    pass


app = typer.Typer(
    name="oncofed-hub",
    help=HELP,
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Home = Annotated[
    Path | None,
    typer.Option(help="The hub's folder [default: ONCOFED_HUB_HOME, else ~/.oncofed/hub].", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable answer on stdout.")]
Study = Annotated[
    Path | None, typer.Argument(help="YAML list of Hydra overrides [default: those of hub.yaml].", show_default=False)
]


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
    from server.hub.home import HubConfig, create, hub_home
    from server.hub.journal import record

    names = tuple(dict.fromkeys([address.rpartition(":")[0].strip("[]"), *(name or ())]))
    place = hub_home(home)
    config = HubConfig(
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

    place = hub_home(home)
    config = place.config()
    study = config.study()
    site = Registry(place.sites_file).invite(name)
    kit = Kit(
        site=name,
        hub=config.address,
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
def approve(
    request: Annotated[Path, typer.Argument(help="The request.json that the site sent.")],
    fingerprint: Annotated[str, typer.Option(help="What the site read to you; refused when it differs.")] = "",
    home: Home = None,
) -> None:
    """Let a site in. Compare the fingerprint with the site by telephone.

    Example: oncofed-hub approve request.json
    """
    from common.errors import TrustError
    from common.trust.kit import read_request
    from server.hub.home import hub_home
    from server.hub.journal import record
    from server.hub.registry import Registry

    place = hub_home(home)
    found = read_request(request)
    if fingerprint and fingerprint.strip().lower() != found.fingerprint:
        raise TrustError(
            f"The request's fingerprint is {found.fingerprint}, the site read {fingerprint}; do not let it in"
        )
    Registry(place.sites_file).approve(found)
    record(place, "approve", site=found.site, fingerprint=found.fingerprint)
    say(f"{found.site} may connect. Its fingerprint is {found.fingerprint}: the site must read you the same.")


@app.command()
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
def sites(json_: Json = False, home: Home = None) -> None:
    """List the sites: invited, approved, revoked.

    Example: oncofed-hub sites --json
    """
    from server.hub.home import hub_home
    from server.hub.registry import Registry

    found = Registry(hub_home(home).sites_file).sites().values()
    rows: list[dict[str, Any]] = [
        {"name": s.name, "status": s.status, "changed": s.changed, "node_id": s.node_id,
         "certificate_days_left": s.certificate_days_left}
        for s in found
    ]  # fmt: skip
    if json_:
        print(json.dumps({"schema_version": 1, "sites": rows}, indent=2))
        return
    for row in rows:
        days = row["certificate_days_left"]
        ends = "" if days is None else f", its certificate ends in {days} days"
        say(f"{row['name']}: {row['status']} since {row['changed']}{ends}")
    if not rows:
        say("No sites yet; invite one: oncofed-hub invite NAME")


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


@app.command()
def study(study: Study = None, home: Home = None) -> None:
    """Print a study as hospitals receive it, for them to forecast its cost; its digest goes to stderr.

    Example: oncofed-hub study next.yaml > study.yaml
    """
    import yaml

    from common.config import compose
    from server.hub.home import hub_home

    found = compose(_overrides(hub_home(home), study))
    print(yaml.safe_dump(found.travelling(), sort_keys=False), end="")
    say(f"Study {found.name}: {found.digest()}. A hospital allows it by this digest, in `studies` of its policy.yaml.")


@app.command()
def run(
    study: Study = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the new run.", show_default=False)] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of a run to go on with.", show_default=False)] = None,
    json_: Json = False,
    home: Home = None,
) -> None:
    """Run a study with the sites that are connected, and wait for its end.

    Example: oncofed-hub run next.yaml
    """
    from common.errors import UsageError
    from server.hub.conductor import Conductor, read_status
    from server.hub.home import hub_home
    from server.hub.journal import record

    if out and resume:
        raise UsageError("Give --out for a new run or --resume for an old one, not both")
    if study and resume:
        raise UsageError("A run is resumed with the study that it began with; leave the file out")
    place = hub_home(home)
    conductor = Conductor(place)
    overrides = _overrides(place, study)
    record(place, "resume" if resume else "run")
    folder = conductor.resume(resume, _progress) if resume else conductor.start(overrides, out, _progress)
    found = read_status(folder) or {}
    record(place, "end", run=str(found.get("run_id")), status=str(found.get("status")))
    if json_:
        print(json.dumps({"folder": str(folder)} | found, indent=2))
    reason = f" ({found['reason']})" if found.get("reason") else ""
    say(f"{found.get('status')}{reason}. Report: {folder / 'report.html'}")
    if found.get("status") != "COMPLETED":
        raise typer.Exit(FederationError.exit_code)


@app.command()
def release(
    folder: Annotated[Path, typer.Argument(help="Folder of a run that ended.")],
    out: Annotated[Path, typer.Option(help="Folder to make for the released model.")],
    endorsement: Annotated[list[Path] | None, typer.Option(help="A site's endorsement.json; may repeat.")] = None,
    home: Home = None,
) -> None:
    """Release a run's model, once as many sites have signed it as the study asks for.

    Example: oncofed-hub release runs/x --endorsement north.json --endorsement south.json --out release
    """
    from server.hub.home import hub_home
    from server.hub.journal import record
    from server.hub.release import release as release_model

    place = hub_home(home)
    found = release_model(place, folder, endorsement or [], out)
    names = ", ".join(document["site"] for document in found["endorsements"])
    record(place, "release", run=found["run"], weights=found["weights"], sites=names)
    say(f"Released to {out}, signed by: {names or 'nobody, as the study asks for no signatures'}.")
    print(out)


@app.command()
def verify_release(
    folder: Annotated[Path, typer.Argument(help="The released folder, as you received it.")],
    key: Annotated[list[str] | None, typer.Option(help="NAME=HEX: a hospital's public key; may repeat.")] = None,
) -> None:
    """Check that each of these hospitals has signed the very model in a folder. No hub is needed.

    Have each hospital tell you its key itself: whoever sent you the folder could have written both.

    Example: oncofed-hub verify-release release --key north=ab12... --key south=cd34...
    """
    from server.hub.release import verify

    keys = {name: value.strip().lower() for name, _, value in (text.partition("=") for text in key or [])}
    found = verify(folder, keys)
    say(f"{', '.join(sorted(keys))} signed these weights ({found.weights[:16]}) of study {found.study[:16]}.")


@app.command()
def status(
    check: Annotated[bool, typer.Option("--check", help="Ask no site; end with 7 unless the hub is ready.")] = False,
    json_: Json = False,
    home: Home = None,
) -> None:
    """Say whether the hub runs, which sites are connected, and how the last run goes.

    Example: oncofed-hub status
    """
    from server.hub.home import hub_home
    from server.hub.overview import overview

    found = overview(hub_home(home), nodes={} if check else None)
    if json_:
        print(json.dumps(found, indent=2))
    else:
        _say_status(found)
    if check and found["hub"]["status"] != "ready":
        raise typer.Exit(NetworkError.exit_code)


def _overrides(place: HubHome, study: Path | None) -> Sequence[str]:
    from common.overrides import read_overrides

    return read_overrides(study) if study else place.config().overrides


def _say_status(found: Mapping[str, Any]) -> None:
    say(f"Hub: {found['hub']['status']}")
    for site in found["sites"]:
        say(f"{site['name']}: {site['status']}, {site['connection']}")
    if found["run"]:
        last = found["run"]
        say(f"Run {last['folder']}: {last['status']}, round {last['rounds_done']} of {last['rounds_planned']}")


def _progress(event: Mapping[str, Any]) -> None:
    if "phase" in event:
        say(": ".join(str(event[key]) for key in ("phase", "folder", "reason") if key in event))
        return
    auroc = event["val"]["pooled"]["auroc"]
    said = "not defined" if auroc is None else f"{auroc:.3f}"
    lost = "".join(f"; {row['site']}: {row['code']}" for row in event["failures"])
    say(f"round {event['round']}: {len(event['joined'])} sites, validation AUROC {said}{lost}")


def _log() -> None:
    logger = logging.getLogger("oncofed")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
