"""``oncofed-hub release``: a model leaves the hub once enough of the hospitals that scored it have signed it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.errors import ConfigError, ModelError
from common.trust.durable import write_durably
from common.trust.release import ReleasedModel, endorsers
from server.hub.conductor import read_status
from server.hub.home import HubHome
from server.hub.registry import Registry

MODEL = Path("model") / "model.safetensors"
BESIDE = ("model_card.md", "model_card.json", "study.yaml")


def release(home: HubHome, run: Path, files: Sequence[Path], out: Path) -> dict[str, Any]:
    """Copies the model, its card and its study to ``out``, and returns ``release.json`` as written there last.

    Args:
        home: The hub, whose register says which keys may sign.
        run: Folder of a run that ended.
        files: The sites' endorsements.
        out: Folder to make.

    Raises:
        ConfigError: The run has not ended, a file cannot be read, or ``out`` exists.
        ModelError: The run's weights are missing or damaged.
        TrustError: Fewer sites than the study asks for have signed these weights.
    """
    status = _ended(run)
    needed = int(json.loads((run / "study.json").read_text(encoding="utf-8"))["strategy"].get("release_signatures", 0))
    documents = [_document(path) for path in files]
    model = ReleasedModel(study=status["study_digest"], run=status["run_id"], weights=_weights(run / MODEL))
    took_part = {row["name"] for row in status["sites"]}
    approved = Registry(home.sites_file).by_status("approved")
    keys = {site.name: site.signing_key for site in approved if site.name in took_part}
    names = endorsers(model, documents, keys, needed)
    kept = {str(document["site"]): document for document in documents if document.get("site") in names}
    _copy(run, out)
    found = {
        "schema_version": 1, **asdict(model), "name": status["name"], "status": status["status"],
        "released": datetime.now(UTC).isoformat(timespec="seconds"), "needed": needed,
        "endorsements": [kept[name] for name in names],
    }  # fmt: skip
    write_durably(out / "release.json", json.dumps(found, indent=2) + "\n")
    return found


def _ended(run: Path) -> dict[str, Any]:
    status = read_status(run)
    if status is None or status["status"] not in ("COMPLETED", "PARTIAL"):
        said = "no run" if status is None else f"a run that is {status['status']}"
        raise ConfigError(f"{run} holds {said}; only the model of a run that ended as COMPLETED or PARTIAL is released")
    return status


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is no endorsement; expected the file that oncofed-site endorse wrote")
    return found


def _weights(path: Path) -> str:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from common.models.weights import state_digest

    try:
        return state_digest(load_file(path))
    except (OSError, SafetensorError):
        raise ModelError(f"{path} is missing or damaged; there is nothing to release") from None


def _copy(run: Path, out: Path) -> None:
    try:
        out.mkdir(parents=True)
    except FileExistsError:
        raise ConfigError(f"{out} exists; choose a new folder for the release") from None
    except OSError as error:
        raise ConfigError(f"{out} cannot be made ({error.strerror}); choose another folder") from None
    shutil.copy(run / MODEL, out / MODEL.name)
    for name in BESIDE:
        if (run / name).exists():
            shutil.copy(run / name, out / name)
