"""A run's outcome in words that need no glossary: who took part, what failed and why, whether federating helped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from typing import Any, Literal

from common.errors import SiteCode
from common.reporting.advice import Outcome, advice, outcome, outside_outcomes, summary
from common.runs.run_files import RunFiles

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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The first lines of a report; ``tone`` is the banner's class, ``advice`` one sentence a site."""

    tone: Literal["good", "note", "warn", "bad"]
    status: str
    benefit: str
    advice: tuple[str, ...]
    lost: tuple[str, ...]


def judge(files: RunFiles) -> Verdict:
    """Returns the verdict on a run."""
    words = {outcome(files, site) for site in files.sites} | set(outside_outcomes(files).values())
    return Verdict(
        tone=_tone(str(files.run["status"]), words),
        status=_status(files),
        benefit=summary(files),
        advice=tuple(advice(files)),
        lost=tuple(_lost_line(site) for site in files.run.get("sites", ()) if site["status"] != "ok"),
    )


def plain_code(code: str) -> str:
    """Returns a site's code in words."""
    return PLAIN_CODES.get(code, PLAIN_CODES[SiteCode.UNKNOWN])


def _tone(status: str, words: Set[Outcome]) -> Literal["good", "note", "warn", "bad"]:
    if status == "FAILED":
        return "bad"
    if status != "COMPLETED" or "hurts" in words:
        return "warn"
    return "good" if "helps" in words else "note"


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


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."
