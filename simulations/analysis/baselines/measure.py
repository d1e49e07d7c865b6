"""Runs the variants of a study seed by seed, and reads off each the AUROC of test patients within their hospitals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.config.study import StudyConfig, compose
from common.errors import DataError
from common.evaluation.scores import ScoreState
from common.evaluation.within_sites import within_sites
from common.runs.run_folder import RunFolder
from simulations.engine.emulation import emulated_cohorts, site_names

if TYPE_CHECKING:
    from common.data.manifest import Dataset

OWN = {"local": "home", "personalised": "home + federation", "public": "public checkpoint"}
"""Models that a study's own run measures beside the federated one."""


def areas_of(folder: Path) -> dict[str, float]:
    """Returns the AUROC within hospitals of each model that a run measured, by model; public models by their hospital.

    Those of hospitals outside have keys such as ``outside federated``.
    """
    run = RunFolder(folder)
    models: Mapping[str, Any] = run.read_json("evaluation.json").get("models", {})
    found = {name: models[name]["within_sites"]["value"] for name in ("federated", *OWN) if name in models}
    sites: Mapping[str, Any] = run.read_json("outside.json").get("sites", {})
    for row in sites.values():
        found |= {f"outside {name}": row[name]["value"] for name in ("federated", "public") if row[name]}
    return {name: float(value) for name, value in found.items() if value is not None}


def pooled_area(folder: Path, study: StudyConfig, pooled: StudyConfig) -> float:
    """Returns the AUROC of a run on pooled patients, within the hospitals of ``study``.

    Raises:
        DataError: The test patients of the hospitals together are others than those of the pool.
    """
    from client.site.scoring import patient_scores
    from common.data.loading import to_tensors
    from common.models.weights import load_weights
    from common.training.study_model import study_model

    tests = _tests(study)
    _same_patients(tests, _tests(pooled))
    loaded = {site: to_tensors(part, study.data) for site, part in tests.items()}
    model = study_model(pooled, tuple(next(iter(loaded.values())).inputs.shape[1:]))
    load_weights(model, folder / "model" / "model.safetensors")
    states = {
        site: ScoreState.of(patient_scores(model.eval(), data), data.patient_labels().numpy(), study.evaluation.bins)
        for site, data in loaded.items()
    }
    return float(within_sites(states, study.evaluation.confidence)["value"] or 0.0)


def _tests(study: StudyConfig) -> dict[str, Dataset]:
    cohorts = emulated_cohorts(study)
    return {site: cohorts[site].in_split("test") for site in site_names(study)}


def _same_patients(apart: Mapping[str, Dataset], together: Mapping[str, Dataset]) -> None:
    first, second = ({patient for part in parts.values() for patient in part.patients()} for parts in (apart, together))
    if first != second:
        raise DataError(
            f"The pool has {len(second)} test patients and the hospitals have {len(first)}, of whom "
            f"{len(first & second)} are the same: give a partition that leaves nobody out"
        )


def study_of(overrides: list[str], seed: int) -> StudyConfig:
    """Returns the study of a seed."""
    return compose([*overrides, f"seed={seed}"])
