"""``oncofed-site model``: the model packages that this site keeps, and their calibration on its own patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from client.cli.privacy import Home
from common.cli.envelope import Json, print_json
from common.cli.guard import Guarded, say

if TYPE_CHECKING:
    from client.site.packages import KeptPackages


class _Group(Guarded, TyperGroup):
    pass


model_app = typer.Typer(
    name="model", help="Model packages: keep, list, sign, calibrate.", cls=_Group, no_args_is_help=True,
    rich_markup_mode=None,
)  # fmt: skip
Keys = Annotated[list[str] | None, typer.Option("--key", help="NAME=HEX: a key that must have signed; may repeat.")]


def register(app: typer.Typer) -> None:
    """Adds the group to ``app``."""
    app.add_typer(model_app)


@model_app.command()
def add(
    source: Annotated[Path, typer.Argument(help="Folder of the package, as you received it.")],
    key: Keys = None,
    home: Home = None,
) -> None:
    """Keep a package, after its hashes, signatures, date and golden images were checked here.

    The hub's key must have signed it, where this site has joined a hub. Have each signer tell you the key itself.

    Example: oncofed-site model add /media/usb/package --key north=ab12...
    """
    from client.site.packages import KeptPackages
    from client.site.site_file import site_home

    kept = KeptPackages(site_home(home).path)
    pins = kept.pins(named_keys(key))
    package = kept.add(source, pins)
    signers = ", ".join(sorted(pins)) or "nobody that this site knows: compare the digest with who released it"
    say(f"Kept {package.manifest.name}, signed by {signers}. {package.manifest.notice}.")
    print(package.digest)


@model_app.command("list")
def list_kept(as_json: Json = False, home: Home = None) -> None:
    """Show the packages that are kept, each checked again, and the state of each.

    Example: oncofed-site model list
    """
    from client.site.packages import KeptPackages
    from client.site.site_file import site_home
    from common.cli.terminal import printable

    kept = KeptPackages(site_home(home).path)
    rows = [_row(kept, digest) for digest in kept.digests()]
    if as_json:
        print_json({"packages": rows})
        return
    for row in rows:
        said = row["problem"] or f"{row['name']}, valid until {row['expires'][:10]}"
        print(row["digest"], row["state"], printable(said))
    if not rows:
        say("This site keeps no package; add one with: oncofed-site model add FOLDER")


@model_app.command()
def sign(
    folder: Annotated[Path, typer.Argument(help="Folder of a package.")],
    home: Home = None,
) -> None:
    """Sign a package with this site's key, after it was checked; the signature is written into its folder.

    Example: oncofed-site model sign package
    """
    from datetime import UTC, datetime

    from client.site.site_file import site_home
    from common.inference.package import load_package
    from common.inference.signatures import sign_package
    from common.trust.signing import SiteKey

    place = site_home(home)
    package = load_package(folder, datetime.now(UTC))
    path = sign_package(folder, package.digest, place.read().name, SiteKey.read(place.signing_key))
    say(f"Signed {package.digest[:16]}.")
    print(path)


@model_app.command()
def calibrate(
    digest: Annotated[
        str | None, typer.Argument(help="Beginning of a digest [default: the active package].", show_default=False)
    ] = None,
    home: Home = None,
) -> None:
    """Fit the probability, the sets and the reference of features to this site's own patients; nothing of it leaves.

    Takes the validation split of the data in site.yaml.

    Example: oncofed-site model calibrate 3f9a
    """
    from client.site.calibrating import calibrate as calibrate_package
    from client.site.packages import KeptPackages
    from client.site.site_file import open_data, site_home
    from common.cli.progress import counted
    from common.errors import ConfigError
    from common.inference.conformal import ConformalSets

    place = site_home(home)
    kept = KeptPackages(place.path)
    chosen = digest or kept.pointer().active
    if chosen is None:
        raise ConfigError("No package is active; name one: oncofed-site model calibrate DIGEST")
    dataset = open_data(place.read().data)
    facts = calibrate_package(kept.load(chosen), dataset, counted(len(dataset.patients()), "patients seen"))
    sets = ConformalSets(facts.benign, facts.malignant, facts.level)
    line = "its own line" if facts.slope is not None else "the consortium's line, for its own has no finite maximum"
    say(f"Probabilities: {line}, of {facts.patients} patients; {facts.left_out} were left out by the checks.")
    told = (
        f"at error level {facts.level:g} a class" if sets.can_tell else "cannot be told, a class has too few patients"
    )
    say(f"Sets: {told} ({len(facts.benign)} benign, {len(facts.malignant)} malignant).")
    say(f"Features: {facts.feature_patients} patients to compare with.")


@model_app.command()
def personal(
    digest: Annotated[
        str | None, typer.Argument(help="Beginning of a digest [default: the active package].", show_default=False)
    ] = None,
    home: Home = None,
) -> None:
    """Make this hospital's own model from a released one and its own patients; it must not leave the hospital.

    Training and validation patients of the data in site.yaml are held out in turn. The result is a package of its own:
    run it in shadow before it becomes active.

    Example: oncofed-site model personal 3f9a
    """
    from client.site.packages import KeptPackages
    from client.site.personal import make_personal
    from client.site.site_file import open_data, site_home
    from common.cli.progress import counted
    from common.errors import ConfigError

    place = site_home(home)
    kept = KeptPackages(place.path)
    chosen = digest or kept.pointer().active
    if chosen is None:
        raise ConfigError("No package is active; name one: oncofed-site model personal DIGEST")
    settings = place.read()
    dataset = open_data(settings.data)
    tell = counted(len(dataset.patients()), "patients seen")
    made = make_personal(kept.load(chosen), dataset, settings.name, kept, tell)
    facts = made.personal
    assert facts is not None
    say(
        f"Made of {facts.patients} patients. Pairs of {facts.compared} held-out ones in the right order: "
        f"{facts.released:.3f} released, {facts.home:.3f} at home, {facts.chosen:.3f} chosen: {facts.how}."
    )
    if facts.chosen <= facts.released:
        say("The released model ranks these patients as well; a model of your own gains nothing here.")
    say("It must not leave this hospital. Try it first: oncofed-site model shadow DIGEST --gate FILE")
    print(made.digest)


def named_keys(given: list[str] | None) -> dict[str, str]:
    """Returns the keys of ``NAME=HEX`` by name.

    Raises:
        UsageError: One is none.
    """
    import re

    from common.errors import UsageError

    found = {}
    for text in given or []:
        name, _, value = text.partition("=")
        if not name or not re.fullmatch(r"[0-9a-f]{64}", value.strip().lower()):
            raise UsageError("--key: expected NAME=HEX with the 64 hex digits of an Ed25519 key")
        found[name] = value.strip().lower()
    return found


def _row(kept: KeptPackages, digest: str) -> dict[str, str]:
    from client.site.lifecycle.registry import SiteRegistry
    from common.errors import OncoFedError

    state = SiteRegistry(kept.home).read().state(digest)
    try:
        manifest = kept.load(digest).manifest
    except OncoFedError as error:
        return {"digest": digest, "state": state, "name": "", "expires": "", "problem": str(error)}
    expires = manifest.expires.isoformat()
    return {"digest": digest, "state": state, "name": manifest.name, "expires": expires, "problem": ""}
