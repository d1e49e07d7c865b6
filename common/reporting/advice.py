"""What a hospital should make of a run: one sentence each, no stronger than what was shown, and how often it errs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from common.runs.run_files import RunFiles

Outcome = Literal["helps", "hurts", "no loss", "same scores", "cannot tell", "not measured", "not released"]
ALL_SITES = "all sites"
"""How the row of patients compared within their own site is called; ``pooled`` are all patients on one scale."""
IN_A_CELL: Mapping[Outcome, str] = {
    "helps": "better",
    "hurts": "worse",
    "no loss": "no worse, within the margin",
    "same scores": "the same ranking",
    "cannot tell": "cannot be told",
    "not measured": "not measured",
    "not released": "not released",
}


def named(site: str) -> str:
    """Returns what a row of the headline is called on a page."""
    return ALL_SITES if site == "pooled" else site


def outcome(files: RunFiles, site: str) -> Outcome:
    """Returns what the run shows of the federated model against the site's own.

    The gate of an earlier version judged each site by itself; what it said counts as not measured.
    """
    own = files.own_release(site)
    if own.get("level") == "none":
        return "not released"
    found: Outcome = (gate_of(files, site) or {}).get("verdict", "not measured")
    return found if found in IN_A_CELL else "not measured"


def advice(files: RunFiles) -> list[str]:
    """Returns a sentence for each site; nothing where no site compared models."""
    outcomes = {site: outcome(files, site) for site in files.sites}
    if set(outcomes.values()) <= {"not measured"}:
        return []
    return [f"{site}: {_sentence(files, site, word)}" for site, word in outcomes.items()]


def _sentence(files: RunFiles, site: str, word: Outcome) -> str:
    if word == "not released":
        return "the hospital releases nothing of its own models; it knows the answer for itself."
    if word == "not measured":
        return "not measured: no model of its own to compare with, or too few test patients of a class."
    gate, margin = gate_of(files, site) or {}, _margin(files)
    by_its_word = " (the hospital's own word, by itself alone)" if "verdict" in files.own_release(site) else ""
    text = {
        "helps": "the federated model is better than its own model",
        "hurts": f"the federated model is worse than its own model by more than {margin:g}; it should keep its own",
        "no loss": f"the federated model is no worse than its own model by more than {margin:g}; more is not shown",
        "same scores": "both models rank its test patients alike",
        "cannot tell": "cannot be told",
    }[word]
    return f"{text}{by_its_word}{_figures(gate, word)}."


def _figures(gate: Mapping[str, Any], word: Outcome) -> str:
    if gate.get("difference") is None or word == "same scores":
        return ""
    said = f" (AUROC {gate['difference']:+.3f}, {gate['low']:+.3f} to {gate['high']:+.3f}"
    tested = f" with {gate['patients']} test patients" if gate.get("patients") else ""
    needed = gate.get("patients_needed")
    more = f"; about {needed:,} would be needed" if word == "cannot tell" and needed else ""
    return f"{tested}{more}{said})" if word == "cannot tell" else f"{said},{tested.removeprefix(' with')})"


def summary(files: RunFiles) -> str:
    """Returns the answer over all sites: how many are shown to gain, how many to lose, and how many cannot be told."""
    words = [outcome(files, site) for site in files.sites]
    if not words or set(words) == {"not measured"}:
        return "Does federating help? Not measured."
    if set(words) <= {"not measured", "not released"}:
        return "Does federating help? Not released by the hospitals, who know it for themselves."
    counts = (f"{words.count(word)} {IN_A_CELL[word]}" for word in IN_A_CELL if word in words)
    count = f"{len(words)} hospital{'' if len(words) == 1 else 's'}"
    return f"Does federating help? Of {count}, against the model that each trained alone: {', '.join(counts)}."


def reliability(files: RunFiles) -> list[str]:
    """Returns how often this advice errs, and how often it finds a loss, at the run's own sizes."""
    rates = ((files.evaluation or {}).get("do_no_harm") or {}).get("rates")
    if not rates:
        return []
    return list(_rates(rates))


def _rates(rates: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"If no hospital's models truly differed, some hospital would be told to keep its own in "
        f"{_percent(rates['false_alarm'])} of such runs."
    )
    power = ", ".join(f"{site} {_percent(share)}" for site, share in rates["power"].items())
    yield f"A hospital whose own model is truly better by {rates['loss']:g} would be told so in: {power} of such runs."


def gate_of(files: RunFiles, site: str) -> Mapping[str, Any] | None:
    """Returns the do-no-harm gate of a site; None where there is none."""
    found: Mapping[str, Any] | None = ((files.evaluation or {}).get("do_no_harm") or {}).get("sites", {}).get(site)
    return found


def _margin(files: RunFiles) -> float:
    return float(((files.evaluation or {}).get("do_no_harm") or {}).get("margin", 0.0))


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.095 else f"{100 * share:.1f}%"
