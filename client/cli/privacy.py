"""Commands of ``oncofed-site`` for the privacy officer: the ledger, the report, its check, the forecast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from common.cli.envelope import Json, print_json
from common.cli.guard import Guarded, say
from common.errors import DataError, TrustError

if TYPE_CHECKING:
    from client.site.accounts import Standing
    from common.config.study import StudyConfig
    from common.privacy.ledger import Ledger

Home = Annotated[
    Path | None,
    typer.Option(help="The site's folder [default: ONCOFED_SITE_HOME, else ~/.oncofed/site].", show_default=False),
]


class _Group(Guarded, TyperGroup):
    pass


def _group(name: str, text: str) -> typer.Typer:
    return typer.Typer(name=name, help=text, cls=_Group, no_args_is_help=True, rich_markup_mode=None)


ledger_app = _group("ledger", "What was spent on this site's patients, and whether the account can be believed.")
privacy_app = _group("privacy", "Privacy-budget reports: write, check, forecast.")


def register(app: typer.Typer) -> None:
    """Adds the two groups to ``app``."""
    app.add_typer(ledger_app)
    app.add_typer(privacy_app)


@ledger_app.command("verify")
def ledger_verify(home: Home = None, as_json: Json = False) -> None:
    """Check the chain, every signature and the head; names the first row that cannot be believed (exit 5).

    Example: oncofed-site ledger verify
    """
    with open_ledger(home) as ledger:
        rows, head = ledger.verify(), ledger.head()
        found = {"ok": True, "rows": rows, "head": head.digest, "public_key": ledger.public_key}
    if as_json:
        print_json(found)
    say(f"The ledger holds: {rows} rows, chain, signatures and head are right. Last row: {head.digest}")


@ledger_app.command("show")
def ledger_show(home: Home = None, as_json: Json = False) -> None:
    """List every charge in order, and what each study has spent so far.

    Example: oncofed-site ledger show
    """
    from dataclasses import asdict

    from client.site.accounts import spent
    from client.site.site_file import site_home
    from client.site.studies import noted_studies
    from common.privacy.evaluation_account import accounts as evaluation_accounts
    from common.privacy.exposure import in_words
    from common.privacy.monitoring_account import accounts as monitoring_accounts
    from common.privacy.pricing import promises_in
    from common.privacy.statement import USUAL_DELTA

    with open_ledger(home) as ledger:
        rows = [asdict(row) for row in ledger.charges()]
        totals = spent(ledger, noted_studies(site_home(home).path))
        held = [asdict(promise) for promise in promises_in(ledger.rows())]
        counted = evaluation_accounts(ledger.rows(), USUAL_DELTA)
        watched = monitoring_accounts(ledger.rows())
    if as_json:
        print_json({"charges": rows, "spent": totals, "held": held, "evaluation": counted, "monitoring": watched})
        return
    for row in rows:
        event = row["event"]
        say(
            f"{row['seq']} {row['time']} study {row['study'][:12]} run {row['run']} round {row['round_index']}: "
            f"noise {event['noise_multiplier']:.4f}, rate {event['sampling_rate']:.4f}, steps {event['steps']}"
        )
    for total in totals:
        say(
            f"Study {total['study'][:12]} on cohort {total['cohort'][:12]}: {total['charges']} charges, epsilon "
            f"{in_words(total['epsilon'])}; all studies {in_words(total['lifetime_epsilon'])} "
            f"(delta {total['delta']:.1e})"
        )
    for promise in held:
        say(
            f"Study {promise['study'][:12]} on cohort {promise['cohort'][:12]} was accepted: budget is held until "
            f"{promise['charges']} charges, or oncofed-site study release"
        )
    for one in counted:
        say(
            f"Study {one['study'][:12]} counted scores with noise {one['noise']}: {one['releases']['val']} "
            f"validations, {one['releases']['test']} tests, epsilon {one['epsilon']:.3f} of a validation or test "
            f"patient; all studies {in_words(one['lifetime_epsilon'])} (delta {one['delta']:.1e})"
        )
    for year in watched:
        say(
            f"Models in use, {year['year']}: {year['reports']} reports to the hub, epsilon {year['epsilon']:.3f} of a "
            f"patient whom they answered (delta {year['delta']:.1e})"
        )
    if not totals and not counted and not watched:
        say("Nothing was charged yet.")


@privacy_app.command("report")
def privacy_report(
    out: Annotated[Path, typer.Option(help="Folder of the reports.")] = Path("privacy-reports"),
    study: Annotated[str, typer.Option(help="First digits of the study's digest; all: every study.")] = "all",
    pdf: Annotated[bool, typer.Option("--pdf", help="A PDF too, by an installed Chromium.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write a signed JSON and a page for each study that these patients were charged for.

    Example: oncofed-site privacy report --out reports --pdf
    """
    statements = _statements(home, study)
    files = [_write(out, number, statement, pdf) for number, statement in enumerate(statements, start=1)]
    if as_json:
        print_json([{**row, "path": str(path)} for row, path in zip(statements, files, strict=True)])
    for statement, path in zip(statements, files, strict=True):
        say(f"Study {statement['study_digest'][:12]}: {_spent_in_words(statement)}: {path.with_suffix('.html')}")


@privacy_app.command("verify")
def privacy_verify(
    report: Annotated[Path, typer.Argument(help="A report's JSON file.")],
    public_key: Annotated[str | None, typer.Option(help="The key (hex) that the site is known by.")] = None,
    as_json: Json = False,
) -> None:
    """Check a report: its signature, and every figure with Google's dp-accounting. Exit 5 when something differs.

    Example: oncofed-site privacy verify reports/1-1f2e3d4c5b6a.json
    """
    from common.privacy.exposure import in_words
    from common.privacy.signature import check_signature
    from common.privacy.verification import verify_statement

    statement = _read(report)
    key = check_signature(statement, public_key)
    independent = verify_statement(statement)
    found = {"ok": True, "site": statement["site"], "claimed": statement["epsilon"], "independent": independent,
             "public_key": key, "key_was_given": public_key is not None,
             "ledger_rows": len(statement.get("ledger_rows") or ())}  # fmt: skip
    if as_json:
        print_json(found)
    who = "the key you gave" if public_key else f"the key it names ({key}); compare it with the one the site told you"
    chain = (
        "charges of a ledger whose rows that key signed" if found["ledger_rows"] else "told without the ledger's rows"
    )
    say(f"Signed by {who}.")
    say(f"Its events are {chain}.")
    say(f"Epsilon {statement['epsilon']:.4f} claimed, {independent:.4f} by dp-accounting: it holds.")
    if summed := statement.get("secure_sum"):
        say(
            f"It holds against the hub with {summed['assumed_colluders']} of {summed['sites']} sites that share the "
            f"noise; against all others together epsilon {in_words(summed['alone']['epsilon'], 4)}, checked too."
        )
    say(str(statement.get("lifetime_in_words", "")))


@privacy_app.command("forecast")
def privacy_forecast(
    study: Annotated[
        Path | None, typer.Option(help="study.yaml of a run [default: the study of the hub's kit].", show_default=False)
    ] = None,
    patients: Annotated[
        int | None, typer.Option(min=1, help="Training patients [default: as declared].", show_default=False)
    ] = None,
    ceiling: Annotated[
        float | None, typer.Option(min=0, help="Epsilon that you would allow [default: the policy's].")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Say what a study will cost, when a ceiling stops it, and how loud its noise is for so many patients.

    At any time: what the ledger charged to the site's latest cohort so far is counted, for this study and others.

    Example: oncofed-site privacy forecast --study study.yaml --patients 240 --ceiling 5
    """
    from client.site.forecast import forecast, read_study
    from client.site.site_file import site_home

    place = site_home(home)
    asked = read_study(study or place.path / "study.json")
    declared = patients or place.read().declared_patients
    limit = _ceiling(home) if ceiling is None else ceiling
    found = forecast(asked, declared, limit, _standing(home, asked, declared)) | {"study_digest": asked.digest()}
    if as_json:
        print_json(found)
    say(found["text"])
    say(f"The digest of this study, for `studies` in policy.yaml, is {found['study_digest']}")


def _ledger_path(home: Path | None) -> Path:
    from client.site.site_file import site_home

    place = site_home(home)
    return place.path / (place.read().ledger if place.site_file.exists() else "ledger.sqlite")


def open_ledger(home: Path | None) -> Ledger:
    """Returns the ledger of a home.

    Raises:
        DataError: There is none.
    """
    from common.privacy.ledger import Ledger

    path = _ledger_path(home)
    if not path.exists() and not path.with_name(path.name + ".key").exists():
        raise DataError(
            f"There is no ledger {path}; name the site's folder with --home. It is made by the first charge"
        )
    return Ledger(path)


def _standing(home: Path | None, study: StudyConfig, patients: int) -> Standing:
    """Returns what the ledger knows; nothing before its first charge."""
    from client.site.accounts import Standing, latest_standing
    from common.privacy.accounting import default_delta

    if not _ledger_path(home).exists():
        return Standing()
    delta = study.privacy.delta or default_delta(patients)
    with open_ledger(home) as ledger:
        return latest_standing(ledger, delta, study.privacy.accountant, study.digest())


def _statements(home: Path | None, wanted: str) -> list[dict[str, Any]]:
    from client.site.accounts import noted_statements
    from client.site.site_file import site_home
    from client.site.studies import noted_studies

    place = site_home(home)
    noted = {name: row for name, row in noted_studies(place.path).items() if wanted == "all" or name.startswith(wanted)}
    with open_ledger(home) as ledger:
        found = [statement for row in noted.values() for statement in noted_statements(ledger, row, _ceiling(home))]
    if not found:
        raise DataError(f"No study {wanted} was charged in {place.path}; see: oncofed-site ledger show")
    return found


def _spent_in_words(statement: dict[str, Any]) -> str:
    from common.privacy.exposure import in_words

    lifetime = in_words(statement["lifetime_epsilon"])
    if not statement["private"]:
        return f"not private, over all studies {lifetime}"
    return f"epsilon {statement['epsilon']:.3f}, over all studies {lifetime} of {statement['ceiling']:g}"


def _ceiling(home: Path | None) -> float | None:
    from client.site.policy import load_policy
    from client.site.site_file import site_home

    place = site_home(home)
    return load_policy(place.path / place.read().policy).ceiling if place.site_file.exists() else None


def _write(out: Path, number: int, statement: dict[str, Any], pdf: bool) -> Path:
    from common.reporting.pdf import print_to_pdf
    from common.reporting.privacy_report import render

    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{number}-{statement['study_digest'][:12]}.json"
    path.write_text(json.dumps(statement, indent=2), encoding="utf-8")
    page = path.with_suffix(".html")
    page.write_text(render(statement, path.name), encoding="utf-8")
    if pdf:
        print_to_pdf(page)
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a report ({error}); expected the JSON file of one") from None
    if not isinstance(document, dict):
        raise TrustError(f"{path} is no privacy report: expected a JSON object")
    return document
