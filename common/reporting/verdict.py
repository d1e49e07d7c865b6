"""A run's outcome in words that need no glossary: who took part, what failed and why, whether federating helped.

Federated and local models are compared by the paired differences that the sites computed on their own test patients:
"clearly" means that the interval of the difference leaves out 0. A run without them (an older one, or one whose sites
did not answer) is compared by separate intervals, which is stricter. Where nothing is clear, no claim is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from common.errors import SiteCode
from common.reporting.run_files import RunFiles

PLAIN_CODES: Mapping[str, str] = {
    SiteCode.BUDGET_REFUSED: "refused: the request would have passed its privacy ceiling",
    SiteCode.POLICY_REFUSED: "refused: its own policy does not allow the study",
    SiteCode.BAD_REQUEST: "could not read the hub's request",
    SiteCode.REQUEST_UNPROVEN: "refused: the request does not carry the signature of the hub that it knows",
    SiteCode.QUESTION_REFUSED: "refused: the study does not ask this of its patients, or not again",
    SiteCode.NOT_RELEASED: "keeps this answer to itself, as its policy says",
    SiteCode.DATA_UNFIT: "its data do not fit the study",
    SiteCode.MODEL_MISMATCH: "its model differs from the hub's",
    SiteCode.TRAINING_FAILED: "its training failed",
    SiteCode.BAD_UPDATE: "sent an answer that the hub rejected",
    SiteCode.BAD_ANSWER: "sent an answer that does not fit what it agreed to, and the hub rejected it",
    SiteCode.LEDGER_WENT_BACK: "has a privacy ledger that does not go on where the hub saw it last",
    SiteCode.NO_ANSWER: "did not answer in time",
    SiteCode.UNAVAILABLE: "could not be reached",
    SiteCode.TOO_FEW: "released no scores: too few patients for its own policy",
    SiteCode.UNKNOWN: "failed for a reason it did not give",
}

Outcome = Literal["higher", "lower", "overlap", "unknown", "withheld"]
_SAID: Mapping[str, Outcome] = {"helps": "higher", "hurts": "lower", "cannot tell": "overlap"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The first lines of a report; ``tone`` is the banner's class, ``harm`` what the do-no-harm gate says."""

    tone: Literal["good", "note", "warn", "bad"]
    status: str
    harm: tuple[str, ...]
    benefit: str
    lost: tuple[str, ...]


def judge(files: RunFiles, rows: Sequence[Mapping[str, Any]]) -> Verdict:
    """Returns the verdict on a run from its files and its headline rows (sites only)."""
    outcomes = {row["site"]: outcome(files, row) for row in rows}
    lost = tuple(_lost_line(site) for site in files.run.get("sites", ()) if site["status"] != "ok")
    harm = tuple(_harm_lines(files, rows))
    return Verdict(
        tone=_tone(str(files.run["status"]), list(outcomes.values()), harmed=bool(harm)),
        status=_status(files),
        harm=harm,
        benefit=_benefit(rows, outcomes),
        lost=lost,
    )


def outcome(files: RunFiles, row: Mapping[str, Any]) -> Outcome:
    """Returns where the federated AUROC lies against the local one, for a site's headline row or the pooled one.

    A hospital that lets leave a verdict only is taken at its word; ``withheld``: it lets leave nothing.
    """
    own = files.own_release(row["site"])
    if "verdict" in own:
        return _SAID[own["verdict"]]
    if own.get("level") == "none":
        return "withheld"
    apart, found = compare(row["auroc"], row["local_auroc"]), files.difference(row["site"])
    if apart == "unknown" or found is None:
        return apart
    if found["low"] > 0:
        return "higher"
    return "lower" if found["high"] < 0 else "overlap"


def compare(federated: Mapping[str, Any], local: Mapping[str, Any]) -> Outcome:
    """Returns where the federated interval lies against the local one."""
    if federated["value"] is None or local["value"] is None:
        return "unknown"
    if federated["low"] > local["high"]:
        return "higher"
    return "lower" if federated["high"] < local["low"] else "overlap"


def _harm_lines(files: RunFiles, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    gate = (files.evaluation or {}).get("do_no_harm") or {}
    for row in rows:
        found = gate.get("sites", {}).get(row["site"]) or {}
        if found.get("harm"):
            sure = "the interval leaves out 0" if found["verdict"] == "harm shown" else "the interval reaches 0"
            if found["difference"] is None:
                yield (
                    f"{row['site']} says that the federated model is worse than its own by more than the margin of "
                    f"{gate['margin']:g} ({sure}; it releases no figures). The site should keep its own model."
                )
                continue
            yield (
                f"{_named(row)}: the federated model is worse than the site's own by more than the margin of "
                f"{gate['margin']:g} (difference {found['difference']:+.3f}, {found['low']:+.3f} to "
                f"{found['high']:+.3f}; {sure}). The site should keep its own model."
            )


def plain_code(code: str) -> str:
    """Returns a site's code in words."""
    return PLAIN_CODES.get(code, PLAIN_CODES[SiteCode.UNKNOWN])


def _tone(status: str, outcomes: Sequence[Outcome], *, harmed: bool) -> Literal["good", "note", "warn", "bad"]:
    if status == "FAILED":
        return "bad"
    if status != "COMPLETED" or harmed or "lower" in outcomes:
        return "warn"
    return "good" if "higher" in outcomes else "note"


def _status(files: RunFiles) -> str:
    run = files.run
    done, planned, sites = run["rounds_done"], run["rounds_planned"], len(files.sites)
    lost = sum(site["status"] != "ok" for site in run.get("sites", ()))
    match run["status"]:
        case "COMPLETED":
            return f"COMPLETED: all {_count(sites, 'site')} took part to the end of {_count(done, 'round')}."
        case "PARTIAL":
            return f"PARTIAL: {lost} of {_count(sites, 'site')} lost; {done} of {_count(planned, 'round')} done."
        case "FAILED":
            return f"FAILED after {done} of {_count(planned, 'round')}: {_sentence(run['reason'] or 'no reason given')}"
        case "INTERRUPTED":
            return f"INTERRUPTED after {done} of {_count(planned, 'round')}: {_sentence(run['reason'])}"
        case other:
            return f"{other}: {done} of {_count(planned, 'round')} done so far."


def _lost_line(site: Mapping[str, Any]) -> str:
    return f"{site['name']} {plain_code(site['code'])} ({site['code']}); it joined {_count(site['rounds'], 'round')}."


def _benefit(rows: Sequence[Mapping[str, Any]], outcomes: Mapping[str, Outcome]) -> str:
    if all(outcome == "unknown" for outcome in outcomes.values()):
        return "Does federating help? Not measured."
    if all(outcome in ("unknown", "withheld") for outcome in outcomes.values()):
        return "Does federating help? Not released by the hospitals, who know it for themselves."
    parts = []
    for outcome, words in (
        ("higher", "clearly higher than training alone at"),
        ("lower", "clearly lower than training alone at"),
        ("overlap", "not distinguishable from training alone at"),
        ("unknown", "not measured at"),
        ("withheld", "not released by"),
    ):
        named = [_named(row) for row in rows if outcomes[row["site"]] == outcome]
        if named:
            parts.append(f"{words} {', '.join(named)}")
    return f"Does federating help? On each site's own test patients the AUROC is {'; '.join(parts)}."


def _named(row: Mapping[str, Any]) -> str:
    federated, local = row["auroc"]["value"], row["local_auroc"]["value"]
    if federated is None or local is None:
        return str(row["site"])
    return f"{row['site']} ({federated:.3f} against {local:.3f})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."
