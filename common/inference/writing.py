"""A run's model as a package: a folder that a department can try, read by its own loader before it is handed on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.config.study import StudyConfig, from_dict
from common.data.loading import network_input
from common.errors import ConfigError, ModelError
from common.inference import bundle, golden, label, manifest
from common.inference.attention_check import attention_facts
from common.inference.expects import ADAPTER, Expects, expected_of
from common.inference.graph import Network, NotExportable, OnnxNetwork, TorchNetwork, export
from common.inference.package import (
    APPEARANCE,
    ATTENTION,
    CALIBRATION,
    CHECKPOINT,
    EXPECTS,
    LABEL,
    ONNX,
    PREPROCESS,
    PRIVACY,
    STUDY,
    THRESHOLD,
    WEIGHTS,
    Package,
    load_package,
)
from common.inference.preprocess import to_document
from common.notice import RESEARCH_USE
from common.provenance import release, versions
from common.runs.run_files import RunFiles, read_run
from common.runs.run_folder import MODEL

if TYPE_CHECKING:
    from common.models.classifier import Classifier

VALID_DAYS = 365
"""How long a validation counts, unless somebody says otherwise."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a run does not say.

    Attributes:
        emulated: Whether its hospitals were emulated.
        appearance: Reference of the training images' looks, where it may leave; None: it may not.
        marked_share: Share of the training images with letters or calipers burned in; None: not known.
        sanity: float32 (N, C, S, S), images of patients, where the writer holds some, on which it is tried whether
            attention follows the weights; None: the golden images.
        valid_days: Days from now until the validation expires.
        now: When it is written, UTC.
    """

    emulated: bool
    appearance: Mapping[str, Any] | None = None
    marked_share: float | None = None
    sanity: NDArray[np.float32] | None = None
    valid_days: int = VALID_DAYS
    now: datetime = dataclasses.field(default_factory=lambda: datetime.now(UTC))


def write_package(run: Path, out: Path, wishes: Wishes) -> Package:
    """Returns the package that it wrote to the new folder ``out``, as the loader reads it.

    Args:
        run: Folder of a run that was evaluated.
        out: Folder to make; nothing is left there where this raises.
        wishes: What the run does not say.

    Raises:
        ConfigError: ``out`` exists, or the run left no model, no evaluation or no calibration.
        ModelError: The model reads tables, cannot be built here, or its package does not load.
    """
    files, study = _evaluated(run)
    if out.exists():
        raise ConfigError(f"{out} exists; name a new folder for the package")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _fill(partial, files, study, wishes)
        package = load_package(partial, wishes.now)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return dataclasses.replace(package, folder=out)


def _evaluated(run: Path) -> tuple[RunFiles, StudyConfig]:
    files = read_run(run)
    needed = (MODEL, "model/calibration.json", "threshold.json", "study.json")
    missing = [name for name in needed if not (run / name).is_file()]
    if files.evaluation is None or missing:
        what = missing[0] if missing else "evaluation.json"
        raise ConfigError(f"{run} has no {what}: only a run that was evaluated to its end can be packaged")
    return files, from_dict(json.loads((run / "study.json").read_text(encoding="utf-8")))


def _fill(folder: Path, files: RunFiles, study: StudyConfig, wishes: Wishes) -> None:
    model = _model(files.path, study)
    shutil.copyfile(files.path / MODEL, folder / WEIGHTS)
    shutil.copyfile(files.path / "model" / "calibration.json", folder / CALIBRATION)
    shutil.copyfile(files.path / "threshold.json", folder / THRESHOLD)
    network, reason = _network(folder, model, study)
    images = _golden_inputs(study)
    head = head_of(model) if network(images)[1].ndim == 4 else None
    golden.write_golden(folder, network, study.data, head)
    attention = attention_facts(model, network, (images, wishes.sanity), head, study.seed)
    facts = _manifest(files, model, reason, attention, wishes)
    _write_documents(folder, files, study, facts, attention, wishes)
    listed = {name: manifest.file_digest(folder / name) for name in manifest.listed(folder)}
    (folder / manifest.FILE).write_text(dataclasses.replace(facts, files=listed).text(), encoding="utf-8")


def _model(run: Path, study: StudyConfig) -> Classifier:
    from common.models.weights import load_weights
    from common.models.zoo import model_names
    from common.training.study_model import study_model

    if study.model.name in model_names(images=False):
        raise ModelError(
            f"{study.model.name} reads rows of a table; a package is for images, so this model is not packaged"
        )
    data = study.data
    model = study_model(study, (data.channels, data.image_size, data.image_size))
    load_weights(model, run / MODEL)
    return model.eval()


def _network(folder: Path, model: Classifier, study: StudyConfig) -> tuple[Network, str]:
    """Returns the network as the package will run it, and why that is not onnxruntime."""
    data = study.data
    try:
        export(model, (data.channels, data.image_size, data.image_size), folder / ONNX)
    except NotExportable as error:
        _keep_checkpoint(folder, study)
        return TorchNetwork(model), str(error)
    return OnnxNetwork(folder / ONNX), ""


def _keep_checkpoint(folder: Path, study: StudyConfig) -> None:
    """Copies the public checkpoint without which torch cannot build the network."""
    from common.models.checkpoints import CARD, FILES

    if study.model.weights is None or not Path(study.model.weights).is_dir():
        return
    (folder / CHECKPOINT).mkdir()
    for name in (CARD, *FILES):
        shutil.copyfile(Path(study.model.weights) / name, folder / CHECKPOINT / name)


def head_of(model: Classifier) -> tuple[NDArray[np.float32], bool] | None:
    """Returns a linear head's weight, float32 (D,), and whether it reads normalised features; None: not linear."""
    import torch

    if not isinstance(model.head, torch.nn.Linear):
        return None
    return model.head.weight.detach().float().numpy()[0].copy(), model.normalise


def _golden_inputs(study: StudyConfig) -> NDArray[np.float32]:
    drawn = (
        np.asarray(golden.golden_image(number), np.float32) / np.float32(255) for number in range(len(golden.SIZES))
    )
    return np.stack([network_input(image, study.data) for image in drawn])


def _manifest(
    files: RunFiles, model: Classifier, reason: str, attention: Mapping[str, Any], wishes: Wishes
) -> manifest.Manifest:
    from common.models.weights import state_digest

    run = files.run
    return manifest.Manifest(
        notice=RESEARCH_USE,
        name=run["name"],
        created=wishes.now,
        expires=wishes.now + timedelta(days=wishes.valid_days),
        synthetic=bool(run["synthetic"]),
        emulated=wishes.emulated,
        study=run["study_digest"],
        run=run["run_id"],
        weights=state_digest(model.state_dict()),
        engine="torch" if reason else "onnx",
        engine_reason=reason,
        normalised=model.normalise,
        attention=attention["method"],
        attention_reason=attention["reason"],
        versions={"oncofed": release()} | versions(),
        files={},
    )


def _write_documents(
    folder: Path, files: RunFiles, study: StudyConfig, facts: manifest.Manifest, attention: Mapping[str, Any],
    wishes: Wishes,
) -> None:  # fmt: skip
    expects = expected_of(study, wishes.marked_share)
    found = label.label(files, facts, expects, attention)
    documents: dict[str, Mapping[str, Any]] = {
        PREPROCESS: to_document(study.data),
        EXPECTS: _expects(expects),
        LABEL: found,
        ATTENTION: {"schema_version": 1, **attention},
        PRIVACY: _privacy(files),
        STUDY: _travelling(study),
        bundle.METADATA: bundle.bundle_metadata(facts, study.data, expects, found["training"]["citation"]),
    }
    if wishes.appearance is not None:
        documents[APPEARANCE] = wishes.appearance
    for name, document in documents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    (folder / bundle.README).parent.mkdir()
    (folder / bundle.README).write_text(bundle.readme(facts, label.lines(found)), encoding="utf-8")


def _expects(expects: Expects) -> dict[str, Any]:
    document: dict[str, Any] = ADAPTER.dump_python(expects, mode="json")
    return document


def _privacy(files: RunFiles) -> dict[str, Any]:
    wanted = ("epsilon", "delta", "lifetime_epsilon", "unit", "neighbouring_relation", "mechanism", "accountant")
    sites = {name: {key: found.get(key) for key in wanted} for name, found in files.statements.items()}
    return {
        "schema_version": 1,
        "private": files.run["private"],
        "noise": files.run["seeds"]["noise"],
        "sites": sites,
        "not_covered": list(files.run.get("not_covered", ())),
    }


def _travelling(study: StudyConfig) -> dict[str, Any]:
    """Returns the study as it travels; no path of this machine stands in it."""
    document = study.travelling()
    if study.model.weights is not None and Path(study.model.weights).exists():
        document["model"]["weights"] = CHECKPOINT
    return document
