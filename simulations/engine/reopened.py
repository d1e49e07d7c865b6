"""A finished run opened again: its study, its model, its threshold, and the emulated hospitals' test patients."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.config.overrides import read_overrides
from common.config.study import StudyConfig, compose
from common.errors import ConfigError, DataError
from common.runs.run_folder import MODEL
from simulations.engine.run import status_of

if TYPE_CHECKING:
    from common.data.manifest import Dataset
    from common.models.classifier import Classifier


@dataclasses.dataclass(frozen=True, eq=False)
class ReopenedRun:
    """What a run left, ready to be asked again.

    Attributes:
        folder: The run's folder.
        record: Its ``run.json``.
        study: The study it ran, composed anew.
        threshold: At and above it a patient was called malignant.
        tests: Test records of each emulated hospital.
    """

    folder: Path
    record: Mapping[str, Any]
    study: StudyConfig
    threshold: float
    tests: Mapping[str, Dataset]

    def model(self) -> Classifier:
        """Returns the run's final model, in evaluation mode, where the run's networks ran or on the nearest there is.

        Raises:
            ModelError: The weights do not fit the study's network.
        """
        from common.models.weights import load_weights
        from common.training.device import nearest
        from common.training.study_model import study_model

        data, some = self.study.data, next(iter(self.tests.values()))
        shape = (some.features,) if some.kind == "table" else (data.channels, data.image_size, data.image_size)
        model = study_model(self.study, shape)
        load_weights(model, self.folder / MODEL)
        return model.to(nearest(self.study.simulation.device)).eval()


def reopen(folder: Path) -> ReopenedRun:
    """Returns a run of emulated hospitals.

    Raises:
        ConfigError: The folder holds no run, or its run left no model or no threshold.
        DataError: The data cannot be read, or deal out other test patients than the run had.
    """
    from simulations.engine.emulation import dealt_to

    record = status_of(folder)
    if not (folder / MODEL).is_file():
        raise ConfigError(f"{folder} left no model ({record['status']}); finish it with --resume {folder}")
    overrides = _overrides(folder)
    fixed = any(each.startswith("partition.sites=") for each in overrides)
    study = dealt_to(compose(overrides), len(record["sites"]), fixed=fixed)
    tests = _tests(study, record)
    return ReopenedRun(folder, record, study, _threshold(folder), tests)


def _overrides(folder: Path) -> list[str]:
    if not (folder / "overrides.yaml").exists():
        raise ConfigError(
            f"{folder} has no overrides.yaml, so its data cannot be found again; only a run of emulated hospitals "
            "can be opened again"
        )
    return read_overrides(folder / "overrides.yaml")


def _tests(study: StudyConfig, record: Mapping[str, Any]) -> dict[str, Dataset]:
    from simulations.engine.emulation import emulated_cohorts, site_names

    cohorts = emulated_cohorts(study)
    tests = {name: cohorts[name].in_split("test") for name in site_names(study)}
    for site in record["sites"]:
        then = (site.get("counts") or {}).get("test", {}).get("patients")
        now = len(tests[site["name"]].patients()) if site["name"] in tests else 0
        if then not in (None, now):
            raise DataError(
                f"{site['name']} had {then} test patients in the run and has {now} now; the data below "
                f"data.root={study.data.root} or the program changed since: run the study again"
            )
    return tests


def _threshold(folder: Path) -> float:
    for name in ("threshold.json", "evaluation.json"):
        path = folder / name
        if path.is_file():
            return float(json.loads(path.read_text(encoding="utf-8"))["threshold"])
    raise ConfigError(f"{folder} has no threshold: the run ended before its evaluation; finish it with --resume")
