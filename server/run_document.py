"""``run.json``: what a run is, how far it came, with whom, and by which code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from common.config import StudyConfig
from common.models.zoo import Classifier
from common.privacy.statement import NOT_COVERED, NOT_PRIVATE
from common.provenance import code_digest, versions
from server.enrolment import Roster
from server.progress import Progress


def run_document(
    study: StudyConfig, roster: Roster, progress: Progress, model: Classifier | None, status: str, reason: str
) -> dict[str, Any]:
    """Returns what ``run.json`` says, but for the run's own id, start and engine."""
    private = study.privacy.private
    return {
        "schema_version": 1,
        "status": status,
        "reason": reason,
        "name": study.name,
        "finished": None if status == "RUNNING" else now(),
        "study_digest": study.digest(),
        "private": private,
        "synthetic": any(card.synthetic for card in roster.cards.values()),
        "dataset": _dataset(study, roster),
        "rounds_planned": study.training.rounds,
        "rounds_done": progress.rounds_done,
        "best_round": progress.best_round,
        "sites": [_site(site, roster, progress) for site in sorted({*roster.cards, *progress.lost})],
        "model": _model_facts(study, model),
        "versions": versions(),
        "seeds": {"seed": study.seed, "noise": _noise(roster)},
        "code_digest": code_digest(),
        "not_covered": list(NOT_COVERED) if private else [NOT_PRIVATE],
    }


def now() -> str:
    """Returns the time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _dataset(study: StudyConfig, roster: Roster) -> dict[str, Any]:
    cards = roster.cards.values()
    return {"name": study.data.name} | (dict(next(iter(cards)).dataset) if cards else {})


def _noise(roster: Roster) -> str:
    return "seeded" if any(card.seeded for card in roster.cards.values()) else "os-entropy"


def _site(site: str, roster: Roster, progress: Progress) -> dict[str, Any]:
    card = roster.cards.get(site)
    return {
        "name": site,
        "declared_patients": card.declared_patients if card else None,
        "status": "lost" if site in progress.lost else "ok",
        "code": progress.lost[site].value if site in progress.lost else "",
        "rounds": progress.rounds_of.get(site, 0),
        "counts": card.counts if card else {},
    }


def _model_facts(study: StudyConfig, model: Classifier | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": study.model.name, "part": study.model.part}
    if model is not None:
        parameters = list(model.parameters())
        facts["parameters"] = sum(p.numel() for p in parameters)
        facts["trainable"] = sum(p.numel() for p in parameters if p.requires_grad)
    return facts
