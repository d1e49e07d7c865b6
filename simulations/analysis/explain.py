"""Heatmaps of a finished run: a page of pictures for each emulated hospital, sums and means for the run.

The maps are of the final model and of all test patients. Pictures stay below ``sites/<site>/gallery``; what goes into
``explanation.json`` is what a site may send: sums by outcome, none over fewer patients than the study's ``min_cell``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from common.errors import ConfigError, UsageError
from common.explain.attention import LABEL, Share
from common.explain.explanation_state import OUTCOMES, ExplanationState
from common.explain.gradcam import Method
from common.explain.measured import Mapper, heatmaps, measures_of, patient_state, sanity_of, shares_of
from common.runs.run_folder import RunFolder
from simulations.analysis.gallery import Picture, gallery_page
from simulations.engine.reopened import ReopenedRun, reopen

if TYPE_CHECKING:
    from torch import Tensor

    from common.data.loading import PatientTensors
    from common.data.manifest import Dataset
    from common.data.pixels.masks import Shown
    from common.models.classifier import Classifier

SCHEMA_VERSION = 1
METHODS = get_args(Method)


@dataclasses.dataclass(frozen=True, slots=True)
class ExplainOptions:
    """What is asked.

    Attributes:
        site: One hospital; None: all of them.
        count: Most patients shown of each outcome at a site.
        method: One of :data:`METHODS`.
        sanity: Whether to randomise the model's weights and see if the maps follow.

    Raises:
        UsageError: The method is unknown, or the count is negative.
    """

    site: str | None = None
    count: int = 6
    method: str = "gradcam"
    sanity: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"--method {self.method!r} is unknown; choose one of {', '.join(METHODS)}")
        if self.count < 0:
            raise UsageError(f"--count {self.count} is negative; give 0 for no pictures")


def explain_run(
    folder: Path,
    options: ExplainOptions,
    progress: Callable[[str], None] = lambda text: None,
    mapper: Mapper | None = None,
) -> dict[str, Any]:
    """Returns the document that it writes to ``explanation.json``, having written a gallery for each site.

    Raises:
        UsageError: The run has no such site.
        ConfigError, DataError, ModelError: See :func:`simulations.engine.reopened.reopen`.
    """
    run, draw = reopen(folder), mapper or heatmaps
    if next(iter(run.tests.values())).kind != "image":
        raise ConfigError(f"{run.study.data.name} is a table; only a model of images has heatmaps")
    names, model = _chosen(run, options.site), run.model()
    states, checks = {}, []
    for name in names:
        progress(f"{name}: {len(run.tests[name].patients())} test patients")
        views = _views(run, name, model, options.method, draw)
        _write_gallery(run, name, views, options)
        states[name] = ExplanationState.total(view.state for view in views).released(run.study.evaluation.min_cell)
        checks += [image for view in views for image in view.inputs]
    trial = sanity_of(model, _stacked(checks), run.study.seed, options.method, draw) if options.sanity else None
    document = _document(run, options, states) | {"sanity": trial}
    RunFolder(folder).write_json("explanation.json", document)
    return document


def _stacked(images: Sequence[Tensor]) -> Tensor:
    import torch

    return torch.stack(list(images))


@dataclasses.dataclass(frozen=True, eq=False)
class _View:
    """One test patient: images, maps, measures, and how the model called it."""

    number: int
    score: float
    outcome: str
    inputs: Tensor
    maps: NDArray[np.float32]
    shown: Sequence[Shown]
    shares: Mapping[str, Share]

    @property
    def state(self) -> ExplanationState:
        return patient_state(self.outcome, self.maps, dict(self.shares))

    def picture(self) -> Picture:
        """Returns the patient's first image."""
        (top, bottom, left, right), lesion = self.shown[0].box, self.shown[0].lesion
        part = np.s_[..., top:bottom, left:right]
        pixels, heat = self.inputs[0].numpy()[part], self.maps[0][part]
        found = measures_of(self.maps[0], self.shown[0])
        inside, padding = found.get("energy"), found.get("padding")
        notes = [f"{inside.value:.0%} of the map inside the lesion, by chance {inside.chance:.0%}"] if inside else []
        notes += ["blank map: nothing spoke for malignant"] if np.ptp(self.maps[0]) == 0 else []
        notes += [f"{padding.value:.0%} of the map on the padding"] if padding and padding.value > 0.5 else []
        notes += [f"first of {len(self.maps)} images"] if len(self.maps) > 1 else []
        return Picture(
            self.number, self.score, pixels, heat, lesion[part] if lesion is not None else None, "; ".join(notes)
        )


def _views(run: ReopenedRun, name: str, model: Classifier, method: str, mapper: Mapper) -> list[_View]:
    from common.data.loading import to_tensors
    from common.training.loop import predict

    part = run.tests[name]
    tensors = to_tensors(part, run.study.data)
    scores = predict(model, tensors).tolist()
    maps = mapper(model, tensors.inputs, method)
    return [_view(run, part, tensors, index, scores[index], maps) for index in range(tensors.num_patients)]


def _view(
    run: ReopenedRun, part: Dataset, tensors: PatientTensors, index: int, score: float, maps: NDArray[np.float32]
) -> _View:
    import torch

    from common.data.pixels.masks import shown

    rows = tensors.rows_of(torch.tensor([index]))[0]
    records = part.patients()[tensors.patients[index]]
    places = [shown(part, record, run.study.data) for record in records]
    own = maps[rows.numpy()]
    shares = shares_of(own, places)
    outcome = outcome_of(score >= run.threshold, bool(records[0].label))
    return _View(index + 1, score, outcome, tensors.inputs[rows], own, places, shares)


def outcome_of(called_malignant: bool, malignant: bool) -> str:
    """Returns ``tp``, ``fp``, ``tn`` or ``fn``."""
    return ("t" if called_malignant == malignant else "f") + ("p" if called_malignant else "n")


def _write_gallery(run: ReopenedRun, name: str, views: Sequence[_View], options: ExplainOptions) -> None:
    groups = {key: [view for view in views if view.outcome == key] for key in OUTCOMES}
    facts = {
        "study": run.study.name,
        "site": name,
        "method": options.method,
        "synthetic": run.tests[name].synthetic,
        "threshold": run.threshold,
        "patients": len(views),
    }
    pictures = {key: [view.picture() for view in spread(group, options.count)] for key, group in groups.items()}
    RunFolder(run.folder).write_text(f"sites/{name}/gallery/index.html", gallery_page(pictures, facts))


def spread(views: Sequence[Any], count: int) -> list[Any]:
    """Returns up to ``count`` of the views by rising score, evenly over the ranks: nobody picks the nice ones."""
    ordered = sorted(views, key=lambda view: (view.score, view.number))
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def _chosen(run: ReopenedRun, site: str | None) -> tuple[str, ...]:
    if site is not None and site not in run.tests:
        raise UsageError(f"The run has no site {site!r}; choose one of {', '.join(run.tests)}")
    return tuple(run.tests) if site is None else (site,)


def _document(run: ReopenedRun, options: ExplainOptions, states: Mapping[str, ExplanationState]) -> dict[str, Any]:
    confidence = run.study.evaluation.confidence
    pooled = ExplanationState.total(states.values())
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.record["run_id"],
        "study_digest": run.record["study_digest"],
        "label": LABEL,
        "method": options.method,
        "unit": "patient",
        "threshold": run.threshold,
        "confidence": confidence,
        "min_cell": run.study.evaluation.min_cell,
        "synthetic": bool(run.record["synthetic"]),
        "sites": {name: {"state": s.to_json(), "summary": s.summarise(confidence)} for name, s in states.items()},
        "pooled": pooled.summarise(confidence),
    }
