"""One page for a study: what every site says that it has spent, and whether its own key stands behind that.

What a site states comes from another machine. So no accountant runs here, since events could be chosen to keep one busy
for days, and a statement that cannot be shown is a row that says so, not the end of the report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import TrustError
from common.privacy.exposure import in_words
from common.privacy.signature import check_signature
from common.privacy.verification import check_consistency
from common.reporting.privacy_report import render as render_site
from common.reporting.templates.base import render as render_page
from common.reporting.templates.study_privacy import STUDY_PRIVACY

PAGE = "privacy.html"
_FIGURES = ("epsilon", "delta", "ceiling", "remaining")


def write_privacy_pages(run: Path) -> None:
    """Writes a page beside each ``privacy/<site>.json`` of a run's folder, and ``privacy.html`` with all of them."""
    statements = {path.stem: _read(path) for path in sorted((run / "privacy").glob("*.json"))}
    pages = {site: _site_page(run / "privacy" / f"{site}.html", statement) for site, statement in statements.items()}
    if statements:
        (run / PAGE).write_text(render(statements, {site for site, shown in pages.items() if shown}), encoding="utf-8")


def render(statements: Mapping[str, Mapping[str, Any]], linked: set[str]) -> str:
    """Returns the page of a study, self-contained HTML, a row for each site.

    Args:
        statements: By site, as the hub calls it.
        linked: Sites that have a page of their own beside this one, in ``privacy/``.
    """
    rows = [_row(site, statement) | {"linked": site in linked} for site, statement in statements.items()]
    return render_page("study_privacy", {"study_privacy": STUDY_PRIVACY}, {"rows": rows})


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _site_page(page: Path, statement: Mapping[str, Any]) -> bool:
    """Returns whether the page could be written."""
    try:
        page.write_text(render_site(statement, page.with_suffix(".json").name), encoding="utf-8")
    except TrustError:
        page.unlink(missing_ok=True)
        return False
    return True


def _row(site: str, statement: Mapping[str, Any]) -> dict[str, Any]:
    figures = {name: statement.get(name) for name in _FIGURES}
    return {
        "site": site,
        "private": statement.get("private"),
        "seeded": statement.get("seeded"),
        "figures": figures if all(isinstance(value, int | float) for value in figures.values()) else None,
        "lifetime": in_words(statement.get("lifetime_epsilon"), 4),
        "cohort_changes": statement.get("cohort_changes", 0),
        "checked": _checked(site, statement),
    }


def _checked(site: str, statement: Mapping[str, Any]) -> str:
    if statement.get("site") != site:
        return f"it names {statement.get('site')}, not {site}"
    try:
        check_signature(statement)
        if statement.get("private") is False:
            return "not private: no figure to check"
        check_consistency(statement)
    except TrustError as error:
        return str(error)
    return "right"
