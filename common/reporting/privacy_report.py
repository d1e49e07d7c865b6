"""The privacy-budget report: one site's statement as a page for its privacy officer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import TrustError
from common.privacy.exposure import finite_or_infinite, in_words
from common.privacy.statement import strength
from common.reporting.figures.drawing import GRID, INK
from common.reporting.figures.plots import epsilon_by_round_svg
from common.reporting.templates.base import render as render_page
from common.reporting.templates.privacy import PRIVACY


def render(statement: Mapping[str, Any], file: str | None = None) -> str:
    """Returns the page, self-contained HTML; every figure on it stands in ``statement``.

    Args:
        statement: The site's statement.
        file: Name of the JSON file beside the page; default: the site's name.

    Raises:
        TrustError: The statement, which may come from another machine, lacks a field or holds one of another kind.
    """
    from jinja2 import TemplateError

    try:
        name = file or f"{statement['site']}.json"
        values = {"s": statement, "file": name, "facts": _facts(statement), "picture": _picture(statement),
                  "lifetime": in_words(statement["lifetime_epsilon"], 2), **_judged(statement)}  # fmt: skip
        return render_page("privacy", {"privacy": PRIVACY}, values)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError, TemplateError) as error:
        raise TrustError(
            f"The privacy statement of {statement.get('site', 'a site')} cannot be shown ({error}); "
            "ask the site to write it again with the version that this hub runs"
        ) from None


def _picture(statement: Mapping[str, Any]) -> str:
    """Returns the figure in the page's own ink, so that it can be read on a dark background."""
    from markupsafe import Markup

    if not statement["private"]:
        return ""
    site = str(statement["site"])
    rounds = [
        {"round": index, "epsilon": {site: row["epsilon"]}} for index, row in enumerate(statement["by_round"], start=1)
    ]
    spent, lifetime = float(statement["epsilon"]), finite_or_infinite(statement["lifetime_epsilon"])
    others = lifetime if spent + 1e-6 < lifetime < math.inf else None
    svg = epsilon_by_round_svg(rounds, {site: float(statement["ceiling"])}, others)
    return Markup(svg.replace(INK, "currentColor").replace(GRID, "var(--line)"))


def _release(row: Mapping[str, Any]) -> str:
    return (
        f"{row['of']}, in {row['rounds']} rounds: one patient moves it by at most {row['sensitivity']:g}, noise of "
        f"standard deviation {row['standard_deviation']:.4g}"
    )


def _sampling(sampling: Mapping[str, Any], *, divided: bool) -> str:
    divisor = f", expected {sampling['expected_batch_patients']:.1f} patients a step (public divisor)"
    return f"{sampling['kind']}, rate {sampling['rate']:.4f}{divisor if divided else ''}"


def _facts(s: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not s["private"]:
        return []
    sampling, accountant, check = s["sampling"], s["accountant"], s["cross_check"]
    return [
        ("Setting", s["setting"]),
        ("Secure sums", _sums(s.get("secure_sum"))),
        ("Unit of privacy", s["unit"]),
        ("Neighbours", s["neighbouring_relation"]),
        ("Mechanism", s["mechanism"]),
        *[("Release", _release(row)) for row in s.get("releases", [])],
        ("Sampling", _sampling(sampling, divided=not s.get("releases"))),
        ("Clipping norm", f"{s['clip_norm']:g}"),
        ("Noise multiplier", f"{s['noise_multiplier']:.4f}"),
        ("Noise", _noise(s["noise"])),
        ("Steps", f"{s['steps']} in {s['rounds']} charged rounds ({s['rounds_planned']} planned, at most "
                  f"{s.get('charges_allowed', 'any number of')} charged)"),
        ("Cohort", _cohort(s.get("cohort_changes", 0))),
        ("Accountant", f"{accountant['name'].upper()} of {accountant['library']} {accountant['version']}"
                       f"{', ' + accountant['method'] if 'method' in accountant else ''}"),
        ("Epsilon of this study", f"{s['epsilon']:.4f} (target {s['target_epsilon']:g})"),
        ("Cross-check", f"{check['name'].upper()}: {check['epsilon']:.4f}"),
        ("Delta", f"{s['delta']:.2e}"),
        ("Epsilon over all studies", f"{in_words(s['lifetime_epsilon'], 4)}. {s.get('lifetime_in_words', '')}"),
        ("Ceiling of the site", f"{s['ceiling']:g}"),
        ("Remaining", f"{s['remaining']:.4f}"),
        ("Counts of scores", _scores(s.get("evaluation_account"))),
        ("Declared patients", str(s["declared_patients"])),
        ("Randomness", s["randomness"]),
        ("Overlap between hospitals", s["overlap"]),
        ("Attacked", s["empirical_audit"]),
        ("Ledger key (Ed25519)", s["ledger_key"]),
        ("Last row of the ledger", _head(s["ledger_head"])),
        ("Chain of the ledger", _chain(s["ledger_rows"])),
        ("Study digest (SHA-256)", s["study_digest"]),
        ("Signature (Ed25519)", str(s.get("signature") or "not signed")),
    ]  # fmt: skip


def _noise(noise: Mapping[str, Any]) -> str:
    drawn = f"{noise['sampler']} on {noise['trained_values']:,} values" if noise["sampler"] else "none drawn yet"
    return (
        f"{drawn}; standard deviation {noise['standard_deviation']:.4g} on a grid of {noise['grid']:.3g}, for a "
        f"sensitivity of {noise['sensitivity']:.6g}: {noise['covers']}"
    )


def _sums(summed: Mapping[str, Any] | None) -> str:
    if summed is None:
        return "none: every release carries all of its noise"
    left = in_words(summed["alone"]["epsilon"], 4)
    who = "no sum yet"
    if summed["sites"] is not None:
        who = (
            f"smallest of {summed['sites']} sites; epsilon of this study holds against the hub with "
            f"{summed['assumed_colluders']} of them, and {summed['honest']} share the noise at least"
        )
    again = f"; {summed['void_attempts']} attempts were void and paid again" if summed["void_attempts"] else ""
    return f"{who}{again}. Against {summed['alone']['against']}: epsilon {left}"


def _scores(account: Mapping[str, Any] | None) -> str:
    if account is None:
        return "without noise, outside every account"
    counts = ", ".join(f"{number} of {split} patients" for split, number in account["releases"].items())
    return (
        f"noise of standard deviation {account['noise']} on each; {counts}: epsilon {account['epsilon']:.4f} for a "
        f"validation or test patient (delta {account['delta']:.1e}, discrete Gaussian, zCDP), over all studies "
        f"{in_words(account['lifetime_epsilon'], 4)}"
    )


_TONES = {"strong": "good", "moderate": "note", "weak": "warn", "none": "bad"}


def _judged(s: Mapping[str, Any]) -> dict[str, str]:
    """Returns the banner's class and what it says of all studies: a ceiling that holds makes no weak guarantee good."""
    if not s["private"]:
        return {}
    lifetime = finite_or_infinite(s["lifetime_epsilon"])
    said = strength(lifetime)
    tone = "bad" if lifetime > s["ceiling"] else _TONES[said]
    above = f" It is above the site's ceiling of {s['ceiling']:.2f}." if lifetime > s["ceiling"] else ""
    return {"tone": tone, "strength": f"As a guarantee this is {'none' if said == 'none' else said}.{above}"}


def _cohort(changes: int) -> str:
    if not changes:
        return "the same from the study's first charge on"
    return f"changed {changes} times (patients, labels or splits); it was trained on only where the site agreed"


def _head(head: Mapping[str, Any] | None) -> str:
    if head is None:
        return "not told"
    return f"{head['seq']}, {head['digest']}: keep it, and a ledger that is set back can be recognised"


def _chain(rows: Sequence[Mapping[str, str]] | None) -> str:
    if rows is None:
        return "not told"
    told = sum("text" in row for row in rows)
    return f"{len(rows)} signed rows, {told} of them told in full: this study's charges"
