"""``run.json``: what a run is, how far it came, with whom, and by which code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from common.config.study import StudyConfig
from common.models.classifier import Classifier
from common.privacy.statement import not_covered
from common.provenance import code_digest, versions
from server.run.enrolment import Roster
from server.run.progress import Progress


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
        "synthetic": bool(roster.cards) and all(card.synthetic for card in roster.cards.values()),
        "dataset": _dataset(study, roster),
        "rounds_planned": study.training.rounds,
        "rounds_done": progress.rounds_done,
        "best_round": progress.best_round,
        "sites": [_site(site, roster, progress) for site in sorted({*roster.cards, *progress.lost})],
        "model": _model_facts(study, model),
        "versions": versions(),
        "seeds": {"seed": study.seed, "noise": _noise(roster)},
        "code_digest": code_digest(),
        "not_covered": not_covered(private, study.evaluation.noise > 0, study),
    }


def now() -> str:
    """Returns the time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _dataset(study: StudyConfig, roster: Roster) -> dict[str, Any]:
    """Returns the study's name of the data, and what more than half of the sites say of it alike: no one decides."""
    told = [dict(card.dataset) for card in roster.cards.values()]
    alike = [facts for facts in told if 2 * told.count(facts) > len(told)]
    return {"name": study.data.name} | (alike[0] if alike else {})


def _noise(roster: Roster) -> str:
    """Returns ``seeded`` or ``os-entropy`` where all sites say so; else ``mixed``, and each site's row says which."""
    kinds = {"seeded" if card.seeded else "os-entropy" for card in roster.cards.values()} or {"os-entropy"}
    return kinds.pop() if len(kinds) == 1 else "mixed"


def _site(site: str, roster: Roster, progress: Progress) -> dict[str, Any]:
    card = roster.cards.get(site)
    return {
        "name": site,
        "declared_patients": card.declared_patients if card else None,
        "seeded": card.seeded if card else None,
        "synthetic": card.synthetic if card else None,
        "device": card.device if card else None,
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
