"""A model package in use: nothing of it is believed before its hashes, signatures, date and golden scores hold."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from common.config.study import DataConfig, from_dict
from common.errors import ConfigError, ModelError, TrustError
from common.evaluation.calibration import recalibrated_probability
from common.inference.expects import ADAPTER, Expects
from common.inference.golden import check_golden
from common.inference.graph import Network, OnnxNetwork, TorchNetwork
from common.inference.held import check_graph, check_weights
from common.inference.manifest import Manifest, read_manifest
from common.inference.personal import PersonalFacts, PersonalHead, PersonalNetwork, read_personal
from common.inference.preprocess import from_document
from common.inference.signatures import check_signatures

WEIGHTS, ONNX, CHECKPOINT = "model.safetensors", "model.onnx", "checkpoint"
PREPROCESS, EXPECTS, CALIBRATION, THRESHOLD = "preprocess.json", "expects.json", "calibration.json", "threshold.json"
LABEL, PRIVACY, APPEARANCE, ATTENTION = "label.json", "privacy.json", "appearance.json", "attention.json"
STUDY = "study.json"


class PackageExpired(TrustError):
    """The validation of a model is too old to rest on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """``probability = sigmoid(intercept + slope * log odds of the score)``, and from which on a patient counts.

    Attributes:
        intercept: Of the line.
        slope: Above 0.
        threshold: Calibrated probability.
        patients: On how many it was fitted.
        where: ``consortium`` or ``site``.
    """

    intercept: float
    slope: float
    threshold: float
    patients: int
    where: str

    def probability(self, score: float) -> float:
        """Returns the calibrated probability of a score in [0, 1]."""
        return recalibrated_probability(score, self.intercept, self.slope)


@dataclasses.dataclass(frozen=True, slots=True)
class Appearance:
    """How training images look: mean and standard deviation over patients of each measure.

    Attributes:
        measures: Name to (mean, standard deviation).
        limit: Standard deviations from the mean up to which an exam is alike.
    """

    measures: Mapping[str, tuple[float, float]]
    limit: float

    def beyond(self, found: Mapping[str, float]) -> tuple[str, ...]:
        """Returns the measures that lie further from the mean than the limit."""
        both = ((name, found[name], *self.measures[name]) for name in self.measures if name in found)
        return tuple(name for name, value, mean, sd in both if abs(value - mean) > self.limit * max(sd, 1e-6))


@dataclasses.dataclass(frozen=True, eq=False)
class Package:
    """A package that was checked.

    Attributes:
        folder: Where it lies.
        manifest: What it is.
        network: Its network, to be run.
        data: How images reach the network.
        expects: What an exam must be.
        calibration: The consortium's.
        threshold_as_scored: Threshold of the score before calibration.
        appearance: Reference; None: it may not leave the hospitals.
        head: Weight of the head and whether features are normalised; None: no attention map.
        attention: ``attention.json``.
        golden: Largest difference of a golden score on this machine.
        personal: How the hospital made its own head; None: the package is as it was released.
    """

    folder: Path
    manifest: Manifest
    network: Network
    data: DataConfig
    expects: Expects
    calibration: Calibration
    threshold_as_scored: float
    appearance: Appearance | None
    head: tuple[NDArray[np.float32], bool] | None
    attention: Mapping[str, Any]
    golden: float
    personal: PersonalFacts | None = None

    @property
    def digest(self) -> str:
        """The package's digest, which names it."""
        return self.manifest.digest

    def label(self) -> dict[str, Any]:
        """Returns ``label.json``."""
        return document(self.folder / LABEL)


def load_package(folder: Path, now: datetime, keys: Mapping[str, str] | None = None, *, threads: int = 1) -> Package:
    """Returns the package in ``folder``.

    Args:
        folder: Of the package.
        now: Time of the use, with a time zone.
        keys: Ed25519 keys (hex) that must have signed it, by whose they are.
        threads: Processor threads of the network.

    Raises:
        ModelError: A file is missing, changed or damaged, or the golden scores or maps differ on this machine.
        TrustError: A pinned key has not signed it, or its validation has expired.
    """
    manifest = read_manifest(folder)
    check_signatures(folder, manifest.digest, keys or {})
    if now >= manifest.expires:
        raise PackageExpired(
            f"The validation of {manifest.name} expired on {manifest.expires.date()}; ask the consortium for a package "
            "that was validated since"
        )
    data = from_document(document(folder / PREPROCESS))
    network, head = _network(folder, manifest, threads), _head(folder, manifest)
    own = read_personal(folder)
    if own is not None:
        network, head = with_own_head(network, head, own[0], manifest)
    worst = check_golden(folder, network, data, head)
    calibration, as_scored = _calibration(document(folder / CALIBRATION))
    return Package(
        folder=folder, manifest=manifest, network=network, data=data, expects=_expects(folder),
        calibration=calibration, threshold_as_scored=as_scored, appearance=_appearance(folder), head=head,
        attention=_attention(folder), golden=worst, personal=None if own is None else own[1],
    )  # fmt: skip


def document(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file of a package.

    Raises:
        ModelError: It holds none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds no JSON object; get the package again")
    return found


def _network(folder: Path, manifest: Manifest, threads: int) -> Network:
    tensors = check_weights(folder / WEIGHTS, manifest.weights)
    if manifest.engine == "onnx":
        check_graph(folder / ONNX, tensors)
        return OnnxNetwork(folder / ONNX, threads)
    from common.models.weights import load_weights
    from common.training.study_model import study_model

    settings = document(folder / STUDY)
    if not isinstance(settings.get("model"), dict):
        raise ModelError(f"{folder / STUDY} names no network; get the package again")
    if settings["model"].get("weights") != "package":  # a path would be one of this machine's
        settings["model"]["weights"] = str(folder / CHECKPOINT) if (folder / CHECKPOINT).is_dir() else None
    try:
        study = from_dict(settings)
    except ConfigError as error:
        raise ModelError(
            f"{folder / STUDY} is of another release ({error}); use the release that packaged it"
        ) from None
    model = study_model(study, (study.data.channels, study.data.image_size, study.data.image_size))
    load_weights(model, folder / WEIGHTS)
    return TorchNetwork(model)


def with_own_head(
    network: Network, head: tuple[NDArray[np.float32], bool] | None, own: PersonalHead, manifest: Manifest
) -> tuple[Network, tuple[NDArray[np.float32], bool] | None]:
    """Returns network and head of attention as a hospital's own head makes them."""
    mine = PersonalNetwork(network, own, normalised=manifest.normalised)
    if head is None:
        return mine, None
    return mine, (np.asarray(own.released * head[0] + own.weight, dtype=np.float32), head[1])


def _head(folder: Path, manifest: Manifest) -> tuple[NDArray[np.float32], bool] | None:
    from safetensors import SafetensorError, safe_open

    if manifest.attention == "none":
        return None
    try:
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            weight = np.asarray(file.get_tensor("head.weight"), dtype=np.float32)
    except (OSError, SafetensorError):
        raise ModelError(f"{folder / WEIGHTS} holds no head; get the package again") from None
    return weight[0], manifest.normalised


def _calibration(found: Mapping[str, Any]) -> tuple[Calibration, float]:
    try:
        numbers = {name: float(found[name]) for name in ("intercept", "slope", "threshold", "threshold_as_scored")}
        patients = int(found["validation_patients"])
    except (KeyError, TypeError, ValueError):
        raise ModelError("calibration.json lacks a number; get the package again") from None
    if not all(map(math.isfinite, numbers.values())) or numbers["slope"] <= 0 or not _are_shares(numbers):
        raise ModelError("calibration.json holds a number out of its range; get the package again")
    as_scored = numbers.pop("threshold_as_scored")
    return Calibration(**numbers, patients=patients, where="consortium"), as_scored


def _are_shares(numbers: Mapping[str, float]) -> bool:
    return all(0 <= numbers[name] <= 1 for name in ("threshold", "threshold_as_scored"))


def _expects(folder: Path) -> Expects:
    try:
        return ADAPTER.validate_json((folder / EXPECTS).read_bytes())
    except ValidationError:
        raise ModelError(f"{folder / EXPECTS} is damaged; get the package again") from None


def _attention(folder: Path) -> dict[str, Any]:
    found = document(folder / ATTENTION)
    if not all(isinstance(found.get(name), str) for name in ("method", "label", "reason")):
        raise ModelError(f"{folder / ATTENTION} is damaged; get the package again")
    return found


def _appearance(folder: Path) -> Appearance | None:
    if not (folder / APPEARANCE).exists():
        return None
    found = document(folder / APPEARANCE)
    try:
        measures = {str(name): (float(row["mean"]), float(row["sd"])) for name, row in found["measures"].items()}
        limit = float(found["limit"])
        if not (limit > 0 and all(map(math.isfinite, (limit, *(x for pair in measures.values() for x in pair))))):
            raise ValueError
        return Appearance(measures, limit)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ModelError(f"{folder / APPEARANCE} is damaged; get the package again") from None
