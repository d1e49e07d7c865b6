"""``oncofed-site data``: is what we have fit for a study? Run it before joining."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from client.cli.intake import init, next_command
from client.cli.privacy import Home
from common.cli.envelope import Json, print_json
from common.cli.guard import Guarded, say
from common.errors import ConfigError, DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.checks.readiness import Inspection
    from client.site.cohort_opening import CohortUnfit, Opened
    from client.site.site_file import SiteData
    from common.data.manifest import Dataset

MIN_CELL = 5
LEAST = 20
"""Training patients, where no policy says how many."""


class _Group(Guarded, TyperGroup):
    pass


data_app = typer.Typer(
    name="data", help="Checks of this site's images before any study.", cls=_Group, no_args_is_help=True,
    rich_markup_mode=None,
)  # fmt: skip
Name = Annotated[str | None, typer.Option("--data", help="manifest, or a public layout: bus_bra, busi, cbis_ddsm, ...")]
Root = Annotated[Path | None, typer.Option(help="The manifest's CSV, or the folder of the layout.")]
Study = Annotated[
    Path | None,
    typer.Option(help="study.yaml: are patients enough for its epsilon? [default: the kit's]", show_default=False),
]
Images = Annotated[Path | None, typer.Option(help="Folder that the manifest's paths start from.")]


def register(app: typer.Typer) -> None:
    """Adds the group to ``app``."""
    app.add_typer(data_app)


data_app.command("init")(init)


@data_app.command("check")
def check(
    name: Name = None,
    root: Root = None,
    images: Images = None,
    home: Home = None,
    fix: Annotated[
        Path | None, typer.Option(help="Write a new manifest without what was found; no image is touched.")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="New folder for masks of burned-in letters and calipers.")] = None,
    study: Study = None,
    as_json: Json = False,
) -> None:
    """Look at every image and patient, and say what to mend (exit 4 while an error is open).

    Without --root: the data that site.yaml names. Names of files are shown here and leave the site nowhere.

    Examples:
      oncofed-site data check

      oncofed-site data check --data busi --root Dataset_BUSI_with_GT --fix clean.csv
    """
    _check_places(fix, masks)
    opened, found = _inspected(name, root, images, home, study, as_json=as_json)
    dataset = opened.dataset
    if fix is not None:
        _write_fixed(opened, found, fix)
    if masks is not None:
        _write_masks(dataset, found, masks)
    if as_json:
        document = {
            "ready": found.ready, "dataset": dataset.name, "records": len(dataset.records),
            "patients": len(dataset.patients()), "notes": list(dataset.notes), "counts": found.counts,
            "findings": [finding.document() for finding in found.findings],
        }  # fmt: skip
        print_json(document, "ok" if found.ready else "failed")
    _say(dataset, found)
    if not found.ready:
        raise typer.Exit(DataError.exit_code)


@data_app.command("deidentify")
def deidentify(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder of DICOM files; nothing in it is changed.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="New folder of the copies.")],
    key: Annotated[Path, typer.Option(help="File of the key of pseudonyms; made when it is not there. It stays here.")],
) -> None:
    """Write copies without identifying attributes (PS3.15 basic profile); one pseudonym a patient.

    Letters burned into pixels stay: `oncofed-site data check` finds many of them.

    Example: oncofed-site data deidentify archive cleaned --key pseudonyms.key
    """
    from common.cli.writing import check_new
    from common.data.intake.deidentify import deidentify_folder
    from common.trust.signing import SiteKey

    check_new(target, "another name")
    counts = deidentify_folder(source, target, bytes.fromhex(SiteKey.open(key).fingerprint("pseudonyms")))
    for what, number in sorted(counts.items()):
        say(f"{what}: {number} files")
    if not counts.get("cleaned"):
        raise DataError(f"No DICOM file in {source} could be cleaned; nothing was written")


@data_app.command("certify")
def certify(
    out: Annotated[Path, typer.Option(help="Folder of the certificate.")] = Path("."),
    min_cell: Annotated[int, typer.Option(min=1, help="Smallest count that is told, where any is.")] = MIN_CELL,
    by: Annotated[
        list[str] | None, typer.Option(help="Column whose groups are counted too; may be given again.")
    ] = None,
    home: Home = None,
) -> None:
    """Run the checks and sign what may be told of them: readiness.json and readiness.html.

    Patients and records are counted only where the policy lets anybody be (1 in both floors), for public data.

    Example: oncofed-site data certify --out certificate
    """
    from client.checks.readiness import certificate, subgroup_counts
    from client.checks.readiness_page import page
    from client.site.policy import load_policy
    from client.site.site_file import site_home
    from common.cli.writing import make_folder
    from common.trust.signing import SiteKey

    make_folder(out, "--out")
    place = site_home(home)
    settings = place.read()
    openly = load_policy(place.path / settings.policy).counts_anybody
    if by and not openly:
        raise ConfigError("The policy lets no single patient be counted, so no groups are either; leave --by out")
    opened, found = _inspected(None, None, None, home, None)
    dataset = opened.dataset
    document = certificate(
        found, site=settings.name, dataset=dataset.name, min_cell=min_cell if openly else math.inf,
        key=SiteKey.read(place.signing_key),
        subgroups=subgroup_counts(dataset, by or [], min_cell),
    )  # fmt: skip
    (out / "readiness.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (out / "readiness.html").write_text(page(document), encoding="utf-8")
    _say(dataset, found)
    say(f"Written: {out / 'readiness.json'}, {out / 'readiness.html'}. Key: {document['key']}")


@data_app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="A readiness.json.")],
    public_key: Annotated[str | None, typer.Option(help="The key (hex) that the site is known by.")] = None,
) -> None:
    """Check that a certificate is the site's and was not changed (exit 5 if not).

    Example: oncofed-site data verify readiness.json --public-key 3f...
    """
    from common.trust.certificate import check_certificate

    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as a certificate ({error})") from None
    if not isinstance(document, dict):
        raise DataError(f"{file} cannot be read as a certificate: it holds no JSON object")
    check_certificate(document, public_key)
    state = "ready" if document.get("ready") else "not ready"
    say(f"The certificate of {document.get('site')} is signed by {document['key']} and unchanged; it says: {state}.")


def _check_places(fix: Path | None, masks: Path | None) -> None:
    from common.cli.writing import check_new

    for path, option in ((fix, "--fix"), (masks, "--masks")):
        if path is not None:
            check_new(path, option)


def _say_unfit(error: CohortUnfit, as_json: bool) -> None:
    """Says what was found in data that could not be opened."""
    if as_json:
        rows = [finding.document() for finding in error.findings]
        document = {"ready": False, "notes": list(error.notes), "findings": rows}
        print_json(document, "failed")
    for note in error.notes:
        say(f"note: {note}")
    for finding in error.findings[:-1]:
        say(finding.line())


def _inspected(
    name: str | None,
    root: Path | None,
    images: Path | None,
    home: Path | None,
    study: Path | None,
    *,
    as_json: bool = False,
) -> tuple[Opened, Inspection]:
    """Returns the data and what was found in them; findings of data that cannot be opened are said before it raises."""
    from client.site.cohort_opening import CohortUnfit

    try:
        return _opened(name, root, images, home, study)
    except CohortUnfit as error:
        _say_unfit(error, as_json)
        raise


def _opened(
    name: str | None, root: Path | None, images: Path | None, home: Path | None, study: Path | None
) -> tuple[Opened, Inspection]:
    from client.checks.readiness import inspect
    from client.site.cohort_opening import open_for_checks
    from client.site.forecast import read_study
    from client.site.policy import load_policy
    from client.site.site_file import site_home

    asked = None if study is None else read_study(study)
    if root is not None:
        opened = open_for_checks(_given(name, root, images))
        return opened, inspect(
            opened.dataset, min_patients=LEAST, before=opened.findings, study=asked, progress=_looked_at(opened.dataset)
        )
    place = site_home(home)
    if not place.site_file.exists():
        raise ConfigError(
            f"There is no site in {place.path}; name the data with --root, or join with: oncofed-site join KIT"
        )
    settings = place.read()
    opened = open_for_checks(settings.data)
    kit = place.path / "study.json"
    return opened, inspect(
        opened.dataset,
        min_patients=load_policy(place.path / settings.policy).min_patients,
        before=opened.findings,
        study=asked or (read_study(kit) if kit.exists() else None),
        declared_patients=settings.declared_patients,
        progress=_looked_at(opened.dataset),
    )


def _looked_at(dataset: Dataset) -> Callable[[int], None]:
    from common.cli.progress import counted

    return counted(len(dataset.records), "images looked at")


def given_data(name: str | None, root: Path | None, images: Path | None, home: Path | None) -> Dataset:
    """Returns the data that the options name, else those of the site, undivided: who is where plays no part.

    Raises:
        ConfigError, DataError: There are none, or they cannot be read.
    """
    from client.site.site_file import open_undivided, site_home

    return open_undivided(site_home(home).read().data if root is None else _given(name, root, images))


def _given(name: str | None, root: Path, images: Path | None) -> SiteData:
    from client.site.site_file import SiteData

    if not root.exists():
        raise ConfigError(f"There is no {root}; name the manifest or the folder of the data with --root")
    return SiteData(
        name=name or "manifest", root=str(root), images=None if images is None else str(images), split_seed=0
    )


def _write_fixed(opened: Opened, found: Inspection, path: Path) -> None:
    from common.data.checks.mending import mended
    from common.data.manifest import write_manifest
    from common.data.pixels.images import ImageFiles

    dataset = opened.dataset
    if dataset.kind != "image":
        raise UsageError("--fix mends manifests of images; these data are a table")
    kept = mended(found.seen)
    if not kept:
        raise DataError("Nothing would be left: every image was found wrong; no manifest was written")
    write_manifest(dataset.with_records(kept), path)
    say(f"Written: {path}, {len(kept)} of {opened.lines} records. Paths start where those of the data do.")
    if isinstance(dataset.read, ImageFiles):
        say(f"Then: {next_command(dataset.read.folder, path)}")


def _write_masks(dataset: Dataset, found: Inspection, folder: Path) -> None:
    from common.data.checks.overlay_files import write_overlays

    number = write_overlays(dataset, found.seen, folder)
    say(f"Written: {number} masks of letters and calipers in {folder}; 255 where they are. No image was touched.")


def _say(dataset: Dataset, found: Inspection) -> None:
    patients: Any = {split: sum(row.values()) for split, row in found.counts.items()}
    say(f"{dataset.name}: {len(dataset.records)} records of {len(dataset.patients())} patients; {patients}")
    for note in dataset.notes:
        say(f"note: {note}")
    for finding in found.findings:
        say(finding.line())
    say("Ready: no check found an error." if found.ready else "Not ready: mend the errors above.")
