"""Which model a site has scored on its test patients, noted for the day on which it is asked to sign its release."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.errors import ConfigError, DataError, TrustError
from common.protocol.messages import Request
from common.trust.durable import write_durably
from common.trust.release import ReleasedModel, endorsement
from common.trust.signing import SiteKey

FOLDER = "scored"
_RUN = re.compile(r"[0-9a-f]{1,64}")


def note_scored(home: Path, site: str, request: Request, weights: str) -> None:
    """Notes the digest of the weights that a run's test is opened with, durably, before they are scored.

    Raises:
        TrustError: The test of this run was opened with other weights before.
    """
    path = home / FOLDER / f"{request.run}.json"
    study = request.study
    noted = {"site": site, "study": study.digest(), "study_name": study.name, "run": request.run, "weights": weights}
    if path.exists():
        if {name: _read(path).get(name) for name in noted} != noted:
            raise TrustError("The test of this run was opened with another model before; a run releases one")
        return
    path.parent.mkdir(exist_ok=True, mode=0o700)
    write_durably(path, json.dumps(noted | {"time": datetime.now(UTC).isoformat(timespec="seconds")}, indent=2))


def scored(home: Path) -> list[dict[str, Any]]:
    """Returns what was noted, oldest first: ``run``, ``study``, ``study_name``, ``weights``, ``time``.

    Raises:
        DataError: A note cannot be read.
    """
    return sorted((_read(path) for path in (home / FOLDER).glob("*.json")), key=lambda note: str(note.get("time")))


def endorse(home: Path, run: str, key: SiteKey) -> tuple[Mapping[str, Any], dict[str, str]]:
    """Returns the note of a run and the site's endorsement of the model that it scored there.

    Raises:
        ConfigError: The site scored no model of that run.
        DataError, TrustError: The note cannot be read.
    """
    path = home / FOLDER / f"{run}.json"
    if not _RUN.fullmatch(run) or not path.exists():
        raise ConfigError(f"This site has scored no model of a run {run}; oncofed-site endorse lists what it scored")
    note = _read(path)
    try:
        model = ReleasedModel(study=note["study"], run=run, weights=note["weights"])
        return note, endorsement(model, str(note["site"]), key)
    except (KeyError, TypeError):
        raise DataError(f"{path} is damaged; the site cannot sign what it does not know") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged; the site cannot sign what it does not know")
    return found
