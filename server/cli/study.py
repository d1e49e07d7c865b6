"""The commands of ``oncofed-hub`` about studies: show one, run it, release its model, say how it goes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.cli.envelope import Json, print_json
from common.cli.guard import say
from common.errors import FederationError, NetworkError
from common.version import version_line

if TYPE_CHECKING:
    from server.hub.conductor import Conductor
    from server.hub.home import HubHome

Home = Annotated[
    Path | None,
    typer.Option(help="The hub's folder [default: ONCOFED_HUB_HOME, else ~/.oncofed/hub].", show_default=False),
]
Study = Annotated[
    Path | None, typer.Argument(help="YAML list of Hydra overrides [default: those of hub.yaml].", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Adds the commands to ``oncofed-hub``."""
    for command in (study, check, run, stop, release, verify_release, status):
        app.command()(command)


def study(study: Study = None, home: Home = None) -> None:
    """Print a study as hospitals receive it, for them to forecast its cost; its digest goes to stderr.

    Example: oncofed-hub study next.yaml > study.yaml
    """
    import yaml

    from common.config.study import compose
    from server.hub.home import hub_home

    found = compose(_overrides(hub_home(home), study))
    print(yaml.safe_dump(found.travelling(), sort_keys=False), end="")
    say(f"Study {found.name}: {found.digest()}. A hospital allows it by this digest, in `studies` of its policy.yaml.")


def run(
    study: Study = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the new run.", show_default=False)] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of a run to go on with.", show_default=False)] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Run a study with the sites that are connected, and wait for its end. Ctrl-C leaves it running or stops it.

    Example: oncofed-hub run next.yaml
    """
    from common.errors import UsageError
    from server.hub.conductor import Conductor
    from server.hub.followed import read_status
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
    try:
        folder = conductor.resume(resume, _progress) if resume else conductor.start(overrides, out, _progress)
    except KeyboardInterrupt:
        _leave_or_stop(conductor)
        raise
    found = read_status(folder) or {}
    record(place, "end", run=str(found.get("run_id")), status=str(found.get("status")))
    problem = found.get("report_error")
    whole = found.get("status") == "COMPLETED" and not problem
    if as_json:
        print_json({"folder": str(folder)} | found, "ok" if whole else "failed")
    say(f"{found.get('status')}{_reason(found)}. Report: {folder / 'report.html'}")
    if problem:
        say(f"Of its pages, {problem}.")
    if not whole:
        raise typer.Exit(FederationError.exit_code)


def check(study: Study = None, as_json: Json = False, home: Home = None) -> None:
    """Rehearse a study: each site does all that it asks with synthetic patients, one round, charged nothing.

    Ends with 0 when every site could do everything, so that a long run does not fail after hours.

    Example: oncofed-hub check next.yaml
    """
    from server.hub.conductor import Conductor
    from server.hub.followed import read_status
    from server.hub.home import hub_home
    from server.hub.journal import record

    place = hub_home(home)
    overrides = _overrides(place, study)
    record(place, "check")
    conductor = Conductor(place)
    try:
        folder = conductor.start(overrides, None, _progress, rehearsal=True)
    except KeyboardInterrupt:
        _leave_or_stop(conductor)
        raise
    found = read_status(folder) or {}
    whole = found.get("status") == "COMPLETED"
    if as_json:
        print_json({"folder": str(folder)} | found, "ok" if whole else "failed")
    for site in found.get("sites", ()):
        say(f"{site['name']}: {'ready' if site['status'] == 'ok' else site['code']}")
    say(f"{found.get('status')}{_reason(found)}. Nothing was charged, and no patient was used.")
    if not whole:
        raise typer.Exit(FederationError.exit_code)


def _reason(found: Mapping[str, Any]) -> str:
    return f" ({found['reason']})" if found.get("reason") else ""


def _leave_or_stop(conductor: Conductor) -> None:
    """Asks whether the run of this command shall go on without it; where nobody can be asked, it does."""
    folder = conductor.underway
    if folder is None:
        say("Nothing of this command goes on; oncofed-hub status says what does.")
        return
    if not sys.stdin.isatty():
        say("The run goes on without this command. Stop it with: oncofed-hub stop")
        return
    if _is_left():
        say(f"The run goes on. Follow it with: oncofed-hub run --resume {folder}; stop it with: oncofed-hub stop")
        return
    say(f"Stopped. Go on with: oncofed-hub run --resume {conductor.stop(folder)}")


def _is_left() -> bool:
    """Returns the answer; who interrupts the question, too, has not asked for an end of the run."""
    try:
        return typer.confirm("Leave the run going on without this command? (No stops it)", default=True, err=True)
    except typer.Abort:
        return True


def stop(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of the run [default: the newest].", show_default=False)
    ] = None,
    home: Home = None,
) -> None:
    """Stop the run that goes on; `run --resume` can take it up again. What hospitals charged stays charged.

    Example: oncofed-hub stop
    """
    from server.hub.conductor import Conductor
    from server.hub.home import hub_home
    from server.hub.journal import record

    place = hub_home(home)
    stopped = Conductor(place).stop(folder)
    record(place, "stop", folder=stopped.name)
    say(f"Stopped. Go on with: oncofed-hub run --resume {stopped}")


def release(
    folder: Annotated[Path, typer.Argument(help="Folder of a run that ended.")],
    out: Annotated[Path, typer.Option(help="Folder to make for the released model.")],
    endorsement: Annotated[list[Path] | None, typer.Option(help="A site's endorsement.json; may repeat.")] = None,
    home: Home = None,
) -> None:
    """Release a run's model, once as many sites have signed it as the study asks for.

    Beside the weights stands a package that departments can try (oncofed-site model add), signed by this hub.

    Example: oncofed-hub release runs/x --endorsement north.json --endorsement south.json --out release
    """
    from server.hub.home import hub_home
    from server.hub.journal import record
    from server.hub.packaging import package
    from server.hub.release import release as release_model

    place = hub_home(home)
    found = release_model(place, folder, endorsement or [], out)
    names = ", ".join(document["site"] for document in found["endorsements"])
    digest, reason = package(place, folder, out)
    record(place, "release", run=found["run"], weights=found["weights"], sites=names, package=digest or "none")
    say(f"Released to {out}, signed by: {names or 'nobody, as the study asks for no signatures'}.")
    say(f"Package for departments: {out / 'package'}, {digest}." if digest else f"There is no package: {reason}.")
    print(out)


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


def status(
    check: Annotated[bool, typer.Option("--check", help="Ask no site; end with 7 unless the hub is ready.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Say whether the hub runs, which sites are connected, and how the last run goes.

    Example: oncofed-hub status
    """
    from server.hub.home import hub_home
    from server.hub.overview import overview

    found = overview(hub_home(home), nodes={} if check else None)
    down = check and found["hub"]["status"] != "ready"
    if as_json:
        print_json(found, "failed" if down else "ok")
    else:
        _say_status(found)
    if down:
        raise typer.Exit(NetworkError.exit_code)


def _overrides(place: HubHome, study: Path | None) -> Sequence[str]:
    from common.config.overrides import read_overrides

    return read_overrides(study) if study else place.config().overrides


def _say_status(found: Mapping[str, Any]) -> None:
    say(f"Hub: {found['hub']['status']}")
    say(version_line())
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
