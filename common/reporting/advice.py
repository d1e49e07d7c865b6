"""What a hospital should make of a run: one sentence each, no stronger than what was shown, and how often it errs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


_FEDERATED: Mapping[str, str] = {
    "helps": "the federated model is better than its own model",
    "hurts": "the federated model is worse than its own model by more than {margin}; it should keep its own",
    "no loss": "the federated model is no worse than its own model by more than {margin}; more is not shown",
    "same scores": "both models rank its test patients alike",
    "cannot tell": "cannot be told",
}
_JOINING: Mapping[str, str] = {
    "helps": "gains: with the federated model it is better than alone",
    "hurts": "loses: with the federated model it is worse than alone by more than {margin}; it should keep its own",
    "no loss": "no gain is shown; it loses no more than {margin}",
    "same scores": "gains nothing: with and without the federated model its test patients are ranked alike",
    "cannot tell": "cannot be told",
}


def named(site: str) -> str:
    """Returns what a row of the headline is called on a page."""
    return ALL_SITES if site == "pooled" else site


def outcome(files: RunFiles, site: str) -> Outcome:
    """Returns what the run shows of joining: the best model with the federated one against the best made at home.

    Where no model was made with it, the federated model by itself counts.
    The gate of an earlier version judged each site by itself; what it said counts as not measured.
    """
    return _word(files, site, _block(files))


def outcome_alone(files: RunFiles, site: str) -> Outcome:
    """Returns what the run shows of the federated model by itself against the best made at home."""
    return _word(files, site, (files.evaluation or {}).get("do_no_harm") or {})


def _word(files: RunFiles, site: str, block: Mapping[str, Any]) -> Outcome:
    if files.own_release(site).get("level") == "none":
        return "not released"
    found: Outcome = block.get("sites", {}).get(site, {}).get("verdict", "not measured")
    return found if found in IN_A_CELL else "not measured"


def advice(files: RunFiles) -> list[str]:
    """Returns a sentence for each site, where one compared models, and for each hospital outside."""
    outcomes = {site: outcome(files, site) for site in files.sites}
    if set(outcomes.values()) <= {"not measured"}:
        return outside_advice(files)
    return [f"{site}: {_sentence(files, site, word)}" for site, word in outcomes.items()] + outside_advice(files)


def gain_of_some(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns which sites the gain over all sites leaves out, as their AUROCs do not; empty where it is of all.

    Args:
        rows: As :func:`common.reporting.run_report.headline_table` returns them.
    """
    told = any(row["site"] == "pooled" and row["gain"]["value"] is not None for row in rows)
    out = [row["site"] for row in rows if row["joined_auroc"]["value"] is not None and row["gain"]["value"] is None]
    return f"The gain over {ALL_SITES} leaves out {', '.join(out)}: too few test patients of a class." * (
        told and bool(out)
    )


def outside_outcomes(files: RunFiles) -> dict[str, Outcome]:
    """Returns what the run shows of the federated model against the public checkpoint, at hospitals outside."""
    return {site: row["verdict"] for site, row in (files.outside or {}).get("sites", {}).items()}


def outside_advice(files: RunFiles) -> list[str]:
    """Returns a sentence for each hospital that took no part and for which two models were compared."""
    sites: Mapping[str, Mapping[str, Any]] = (files.outside or {}).get("sites", {})
    return [
        f"{site}, which took no part: the federated model against the public checkpoint: "
        f"{IN_A_CELL[row['verdict']]} {_gap(row['difference'], row['patients'])}."
        for site, row in sites.items()
        if row["difference"]
    ]


def _gap(found: Mapping[str, Any], patients: int) -> str:
    return f"(AUROC {found['value']:+.3f}, {found['low']:+.3f} to {found['high']:+.3f}, {patients} patients)"


def _sentence(files: RunFiles, site: str, word: Outcome) -> str:
    if word == "not released":
        return "the hospital releases nothing of its own models; it knows the answer for itself."
    if word == "not measured":
        return "not measured: no model of its own to compare with, or too few test patients of a class."
    gate, margin = gate_of(files, site) or {}, _margin(files)
    by_its_word = " (the hospital's own word, by itself alone)" if "verdict" in files.own_release(site) else ""
    text = (_JOINING if _judges_joining(files) else _FEDERATED)[word].format(margin=f"{margin:g}")
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
        return "Who gains? Not measured."
    if set(words) <= {"not measured", "not released"}:
        return "Who gains? Not released by the hospitals, who know it for themselves."
    counts = (f"{words.count(word)} {IN_A_CELL[word]}" for word in IN_A_CELL if word in words)
    count = f"{len(words)} hospital{'' if len(words) == 1 else 's'}"
    what = "with the federated model" if _judges_joining(files) else "the federated model"
    return f"Who gains? Of {count}, {what} against the best that each makes alone: {', '.join(counts)}."


def reliability(files: RunFiles) -> list[str]:
    """Returns how often this advice errs, and how often it finds a loss, at the run's own sizes."""
    rates = _block(files).get("rates")
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
    """Returns what was judged of a site (see :func:`outcome`); None where nothing was."""
    found: Mapping[str, Any] | None = _block(files).get("sites", {}).get(site)
    return found


def _judges_joining(files: RunFiles) -> bool:
    return bool((files.evaluation or {}).get("joining"))


def _block(files: RunFiles) -> Mapping[str, Any]:
    evaluation = files.evaluation or {}
    return evaluation.get("joining") or evaluation.get("do_no_harm") or {}


def _margin(files: RunFiles) -> float:
    return float(_block(files).get("margin", 0.0))


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.095 else f"{100 * share:.1f}%"
