"""The studies that a site has trained for, noted at the site so that its privacy officer can report on each.

The ledger holds what was spent; what the study was (clipping, sampling, accountant) is noted here, once, before its
first charge. A note is known by the study's digest, so nobody can change it unseen.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.config import StudyConfig, from_dict
from common.errors import TrustError
from common.trust.durable import write_durably

if TYPE_CHECKING:
    from client.site import Site

FOLDER = "studies"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NotedStudy:
    """One study as the site saw it."""

    site: str
    study: StudyConfig
    declared_patients: int
    ceiling: float
    seeded: bool
    synthetic: bool
    trained_values: int | None = None
    """Values that a step trains, which decide the sampler of its noise; None: noted by an older release."""


def note_study(site: Site, study: StudyConfig, trained_values: int) -> None:
    """Notes the study, durably; a second call changes nothing."""
    path = site.home / FOLDER / f"{study.digest()}.json"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    note = {
        "site": site.name, "study": study.travelling(), "declared_patients": site.declared_patients,
        "ceiling": site.policy.ceiling, "seeded": site.randomness("statement", 0).seeded,
        "synthetic": site.cohort.synthetic, "trained_values": trained_values,
    }  # fmt: skip
    write_durably(path, json.dumps(note, indent=2))


def is_noted(site: Site, study: StudyConfig) -> bool:
    """Returns whether the site has begun to train for the study."""
    return (site.home / FOLDER / f"{study.digest()}.json").exists()


def noted_values(home: Path, study: StudyConfig) -> int | None:
    """Returns how many values a step of the study trains; None before its first charge."""
    path = home / FOLDER / f"{study.digest()}.json"
    return _read(path).trained_values if path.exists() else None


def noted_studies(home: Path) -> dict[str, NotedStudy]:
    """Returns the studies by digest.

    Raises:
        TrustError: A note was changed, or cannot be read.
    """
    return {path.stem: _read(path) for path in sorted((home / FOLDER).glob("*.json"))}


def _read(path: Path) -> NotedStudy:
    try:
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        study = from_dict(note.pop("study"))
        noted = NotedStudy(study=study, **note)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrustError(f"{path} cannot be read ({error}); restore it from a backup of the site's folder") from None
    if study.digest() != path.stem:
        raise TrustError(f"{path} was changed: its study is not the one that the site trained for; restore it")
    return noted
