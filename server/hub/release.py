"""``oncofed-hub release``: a model leaves the hub once enough of the hospitals that scored it have signed it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.config.study import from_dict
from common.errors import ConfigError, ModelError, TrustError
from common.trust.durable import write_durably
from common.trust.release import ReleasedModel, endorsers
from server.hub.followed import read_status
from server.hub.home import HubHome
from server.hub.packaging import FOLDER
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
        TrustError: Fewer sites than the study asks for have signed these weights, or the study in the run's folder is
            not the one that was run.
    """
    status = _ended(run)
    needed = _needed(run / "study.json", status["study_digest"])
    documents = [_document(path, "the file that oncofed-site endorse wrote") for path in files]
    model = ReleasedModel(study=status["study_digest"], run=status["run_id"], weights=weights_of(run / MODEL))
    took_part = {row["name"] for row in status["sites"]}
    approved = Registry(home.sites_file).by_status("approved")
    keys = {site.name: site.signing_key for site in approved if site.name in took_part}
    signed = endorsers(model, documents, keys, needed)
    _copy(run, out)
    found = {
        "schema_version": 1, **asdict(model), "name": status["name"], "status": status["status"],
        "released": datetime.now(UTC).isoformat(timespec="seconds"), "needed": needed,
        "endorsements": list(signed.values()),
    }  # fmt: skip
    write_durably(out / "release.json", json.dumps(found, indent=2) + "\n")
    return found


def verify(folder: Path, keys: Mapping[str, str]) -> ReleasedModel:
    """Returns what a released folder holds, once each of the hospitals in ``keys`` has signed these very weights.

    Args:
        folder: As :func:`release` made it, wherever it is now.
        keys: Ed25519 key (hex) by the name of its site. Nothing that the folder says of keys is believed.

    Raises:
        ConfigError: There is no key, or no release in ``folder``.
        ModelError: The weights are missing or damaged, or the package beside them is of others.
        TrustError: One of them did not sign them, or signed them for another run or study.
    """
    if not keys:
        raise ConfigError("Nothing can be verified without a key; ask each hospital for its own: --key north=HEX")
    found = _document(folder / "release.json", "the folder that oncofed-hub release made")
    try:
        named = ReleasedModel(study=found["study"], run=found["run"], weights=weights_of(folder / MODEL.name))
        documents = [dict(document) for document in found["endorsements"]]
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{folder / 'release.json'} is damaged; ask for the release again") from None
    endorsers(named, documents, keys, len(keys))
    if (folder / FOLDER).exists():
        _check_package(folder / FOLDER, named.weights)
    return named


def _check_package(folder: Path, weights: str) -> None:
    """Refuses a package beside a release that holds, or computes with, other weights than those that were signed."""
    from common.inference.held import check_graph, check_weights
    from common.inference.manifest import read_manifest
    from common.inference.package import ONNX, WEIGHTS

    manifest = read_manifest(folder)
    tensors = check_weights(folder / WEIGHTS, weights)
    if manifest.engine == "onnx":
        check_graph(folder / ONNX, tensors)


def _needed(path: Path, digest: str) -> int:
    """Returns how many signatures the study asks for, which is the one of that digest."""
    study = from_dict(_document(path, "the study of the run"))
    if study.digest() != digest:
        raise TrustError(
            f"{path} has the digest {study.digest()[:16]}, the run had {digest[:16]}: it was changed after the run; "
            "restore it before the release"
        )
    return study.strategy.release_signatures


def _ended(run: Path) -> dict[str, Any]:
    status = read_status(run)
    if status is None or status["status"] not in ("COMPLETED", "PARTIAL"):
        said = "no run" if status is None else f"a run that is {status['status']}"
        raise ConfigError(f"{run} holds {said}; only the model of a run that ended as COMPLETED or PARTIAL is released")
    return status


def _document(path: Path, expected: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} cannot be read; expected {expected}")
    return found


def weights_of(path: Path) -> str:
    """Returns the digest of all tensors of a model's file.

    Raises:
        ModelError: It is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from common.models.weights import state_digest

    try:
        return state_digest(load_file(path))
    except (OSError, SafetensorError):
        raise ModelError(f"{path} is missing or damaged; there is nothing to release or verify") from None


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
