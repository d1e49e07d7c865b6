"""``oncofed-sim audit``: does what runs keep what the study claims?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from common.cli.envelope import Json, print_json
from common.errors import ConfigError, TrustError

HELP = """Attack the study's own private training, and check its mechanism on the running code.

Trains one emulated hospital with canary patients, with a hospital's randomness instead of a seed, guesses which of
them took part, and attacks released models, private and plain. Shows a lower bound on epsilon and the attack's AUC
beside the claim, and named checks with PASS or FAIL. Exits with 5 when a check fails. docs/audit.md says what an
audit can and cannot show.

OVERRIDES are Hydra overrides of configs/study.yaml, as for oncofed-sim run.

Examples:

  oncofed-sim audit

  oncofed-sim audit privacy.epsilon=1 --out audits/eps1

  oncofed-sim audit data=wdbc model=mlp --models 16 --json
"""


def audit(
    overrides: Annotated[list[str] | None, typer.Argument(help="Hydra overrides, such as privacy.epsilon=3.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for audit.json and audit.html.", show_default=False)] = None,
    canaries: Annotated[int, typer.Option(min=20, help="Canary patients on the study's own network.")] = 100,
    worst_case: Annotated[int, typer.Option(min=20, help="Worst-case canaries; more show more.")] = 4000,
    models: Annotated[
        int, typer.Option(min=0, help="Models of the membership attack, private and plain each; 0: no attack.")
    ] = 8,
    as_json: Json = False,
) -> None:
    """Audits one study."""
    from common.config.overrides import expanded
    from common.config.study import compose
    from simulations.audit.study import AuditOptions, audit_study
    from simulations.engine.display import console

    screen = console()
    options = AuditOptions(canaries=canaries, worst_case=worst_case, models=models)
    study = compose(expanded(overrides or []))
    document = audit_study(study, options, lambda text: screen.print(f"{text} ...", highlight=False))
    if out is not None:
        _write(out, document)
    _show(document, screen, out)
    if as_json:
        print_json(document, "ok" if document["passed"] else "failed")
    if not document["passed"]:
        failed = ", ".join(check["name"] for check in document["checks"] if not check["passed"])
        raise TrustError(f"The audit failed: {failed}. What runs is not what is claimed; do not train on patients.")


def _write(out: Path, document: Mapping[str, Any]) -> None:
    from simulations.audit.audit_page import audit_page

    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "audit.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        (out / "audit.html").write_text(audit_page(document), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written ({error.strerror}); choose another --out") from None


def _show(document: Mapping[str, Any], screen: Any, out: Path | None) -> None:
    from simulations.engine.display import RESEARCH_ONLY

    screen.print(_checks(document))
    for line in summary(document):
        screen.print(line, highlight=False, soft_wrap=True, markup=False)
    screen.print(f"{RESEARCH_ONLY}.", highlight=False)
    if out is not None:
        screen.print(f"Report: {out / 'audit.html'}", highlight=False, soft_wrap=True, markup=False)


def _checks(document: Mapping[str, Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("check")
    table.add_column("", no_wrap=True)
    table.add_column("measured")
    table.add_column("expected")
    for check in document["checks"]:
        verdict = Text("PASS", style="green") if check["passed"] else Text("FAIL", style="bold red")
        table.add_row(Text(check["name"]), verdict, Text(check["measured"]), Text(check["expected"]))
    return table


def summary(document: Mapping[str, Any]) -> list[str]:
    """Returns the measured figures beside the claim, a line each."""
    claim, attack = document["claim"], document["attack"]
    lines = [f"Claimed: epsilon {claim['epsilon']:g} at delta {claim['delta']:.1e}, site {document['site']['name']}"]
    for name, found in document["canaries"].items():
        about = "none" if found["estimate"] is None else f"{found['estimate']:.2f}"
        lines.append(
            f"Canaries, {name.replace('_', ' ')}: epsilon >= {found['epsilon']:.2f} at "
            f"{found['confidence']:.0%} confidence ({found['canaries']} canaries could show "
            f"{found['most_possible']:.2f} at most); Gaussian estimate {about}"
        )
    for name in ("private", "plain") if attack else ():
        found = attack[name]
        lines.append(
            f"Membership attack, {name}: AUC {found['auc']:.3f} ({found['low']:.3f}-{found['high']:.3f}), "
            f"{found['tpr_at_low_fpr']:.1%} of members at 1% false alarms"
        )
    return lines
