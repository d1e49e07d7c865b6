"""One page for a study: what every site says that it has spent, and whether its own key stands behind that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import TrustError
from common.privacy.signature import check_signature
from common.reporting.privacy_report import render as render_site
from common.reporting.templates.base import render as render_page
from common.reporting.templates.study_privacy import STUDY_PRIVACY

PAGE = "privacy.html"


def write_privacy_pages(run: Path) -> None:
    """Writes a page beside each ``privacy/<site>.json`` of a run's folder, and ``privacy.html`` with all of them.

    Raises:
        TrustError: A statement cannot be shown.
    """
    statements = {
        path: json.loads(path.read_text(encoding="utf-8")) for path in sorted((run / "privacy").glob("*.json"))
    }
    for path, statement in statements.items():
        path.with_suffix(".html").write_text(render_site(statement, path.name), encoding="utf-8")
    if statements:
        (run / PAGE).write_text(render(list(statements.values())), encoding="utf-8")


def render(statements: Sequence[Mapping[str, Any]]) -> str:
    """Returns the page of a study, self-contained HTML, a row for each site."""
    rows = [_row(statement) for statement in statements]
    return render_page("study_privacy", {"study_privacy": STUDY_PRIVACY}, {"rows": rows, "first": statements[0]})


def _row(statement: Mapping[str, Any]) -> dict[str, Any]:
    shown = ("site", "private", "epsilon", "delta", "lifetime_epsilon", "ceiling", "remaining", "ledger_key", "seeded")
    return {**{key: statement.get(key) for key in shown}, "signature": _signature(statement)}


def _signature(statement: Mapping[str, Any]) -> str:
    if not statement.get("private"):
        return "not private: nothing to sign"
    try:
        check_signature(statement)
    except TrustError as error:
        return str(error)
    return "right"
