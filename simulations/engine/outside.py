"""What a run's model is worth to hospitals that took no part in it, beside the public checkpoint that it started from.

A hospital without labels can train nothing and so can measure nothing. An emulated one has labels that only the
simulation sees: they say what such a hospital would get.
"""

from __future__ import annotations

import dataclasses
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import DataError
from common.evaluation.gate import judged
from common.runs.run_folder import MODEL, RunFolder

if TYPE_CHECKING:
    from common.config.study import StudyConfig
    from common.data.loading import PatientTensors
    from common.evaluation.comparison import Difference
    from common.evaluation.intervals import Floats
    from common.models.classifier import Classifier

FILE = "outside.json"


def measure_outside(study: StudyConfig, folder: Path) -> bool:
    """Writes ``outside.json`` where the study keeps hospitals outside and the run left a model; returns whether it did.

    It holds for each hospital ``patients``, ``malignant``, the AUROC of ``federated`` and of ``public`` (null where the
    study starts from no checkpoint), ``difference`` of the two on the same patients, and its ``verdict``
    (:func:`common.evaluation.gate.judged`).
    """
    if not study.partition.outside or not (folder / MODEL).is_file():
        return False
    found = {name: _Hospital.of(study, name) for name in study.partition.outside}
    some = next(iter(found.values())).data
    model, public = _federated(study, folder, some), _public(study, some)
    rows = {name: hospital.measured(study, model, public) for name, hospital in found.items()}
    rules = study.evaluation
    words = judged({name: one for name, (_, one) in rows.items()}, margin=rules.margin, confidence=rules.confidence)
    sites = {name: row | {"verdict": words[name]["verdict"]} for name, (row, _) in rows.items()}
    RunFolder(folder).write_json(FILE, {"schema_version": 1, "confidence": rules.confidence, "sites": sites})
    return True


@dataclasses.dataclass(frozen=True, eq=False)
class _Hospital:
    name: str
    data: PatientTensors

    @classmethod
    def of(cls, study: StudyConfig, name: str) -> _Hospital:
        """Returns the hospital with all its patients, whatever split they are of."""
        from common.data.loading import to_tensors
        from simulations.engine.emulation import emulated_cohorts

        data = to_tensors(emulated_cohorts(study)[name], study.data)
        if len(set(data.patient_labels().tolist())) < 2:
            raise DataError(f"{name} has patients of one class only; keep a hospital with both outside")
        return cls(name, data)

    def measured(
        self, study: StudyConfig, model: Classifier, public: Classifier | None
    ) -> tuple[dict[str, Any], Difference | None]:
        """Returns the hospital's row, and what the federated model adds to the public one."""
        labels = self.data.patient_labels().numpy()
        scores = {"federated": self._scores(model), "public": None if public is None else self._scores(public)}
        difference = self._difference(study, scores["federated"], scores["public"], labels)
        row = {"patients": len(labels), "malignant": int(labels.sum())}
        areas = {name: _area(values, labels, study) for name, values in scores.items()}
        return row | areas | {"difference": difference and dataclasses.asdict(difference)}, difference

    def _scores(self, model: Classifier) -> Floats:
        from client.site.scoring import patient_scores

        return patient_scores(model, self.data)

    def _difference(
        self, study: StudyConfig, federated: Floats | None, public: Floats | None, labels: Floats
    ) -> Difference | None:
        from common.evaluation.comparison import paired_difference

        if federated is None or public is None:
            return None
        rules, seed = study.evaluation, zlib.crc32(f"{study.seed}|{self.name}".encode())
        return paired_difference(
            federated, public, labels, confidence=rules.confidence, resamples=rules.resamples, seed=seed
        )


def _area(scores: Floats | None, labels: Floats, study: StudyConfig) -> dict[str, float] | None:
    from common.evaluation.metrics import auroc_interval
    from common.evaluation.scores import ScoreState

    if scores is None:
        return None
    found = auroc_interval(ScoreState.of(scores, labels, study.evaluation.bins), study.evaluation.confidence)
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}


def _federated(study: StudyConfig, folder: Path, data: PatientTensors) -> Classifier:
    from common.models.weights import load_weights
    from common.training.device import nearest
    from common.training.study_model import study_model

    model = study_model(study, tuple(data.inputs.shape[1:]))
    load_weights(model, folder / MODEL)
    return model.to(nearest(study.simulation.device)).eval()


def _public(study: StudyConfig, data: PatientTensors) -> Classifier | None:
    from client.site.home import public_network
    from common.training.study_model import study_model

    if not study.model.checkpoint:
        return None
    return public_network(study_model(study, tuple(data.inputs.shape[1:])))
