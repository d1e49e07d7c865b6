"""The studies that a site has trained for, noted at the site so that its privacy officer can report on each.

The ledger holds what was spent; what the study was (clipping, sampling, accountant) is noted here, once, before its
first charge. A note is known by the study's digest, so nobody can change it unseen.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.config.study import StudyConfig, from_dict
from common.errors import TrustError
from common.trust.durable import write_durably

if TYPE_CHECKING:
    from client.site.hospital import Site

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
    """Notes the study, durably; a later call adds no more than that a round was seeded or synthetic."""
    path = site.home / FOLDER / f"{study.digest()}.json"
    seeded, synthetic = site.randomness("statement", 0).seeded, site.cohort.synthetic
    noted = _read(path) if path.exists() else None
    if noted is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        noted = NotedStudy(
            site=site.name, study=study, declared_patients=site.declared_patients, ceiling=site.policy.ceiling,
            seeded=seeded, synthetic=synthetic, trained_values=trained_values,
        )  # fmt: skip
    elif noted.seeded >= seeded and noted.synthetic >= synthetic:
        return
    _write(path, dataclasses.replace(noted, seeded=noted.seeded or seeded, synthetic=noted.synthetic or synthetic))


def _write(path: Path, noted: NotedStudy) -> None:
    fields = {field.name: getattr(noted, field.name) for field in dataclasses.fields(noted)}
    write_durably(path, json.dumps(fields | {"study": noted.study.travelling()}, indent=2))


def is_noted(site: Site, study: StudyConfig) -> bool:
    """Returns whether the site has begun to train for the study."""
    return (site.home / FOLDER / f"{study.digest()}.json").exists()


def noted_study(home: Path, study: StudyConfig) -> NotedStudy | None:
    """Returns the note of a study; None before its first charge.

    Raises:
        TrustError: The note was changed, or cannot be read.
    """
    path = home / FOLDER / f"{study.digest()}.json"
    return _read(path) if path.exists() else None


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
