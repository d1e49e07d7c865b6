"""Where the common model looks on a site's test patients: sums and counts by class; the maps stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.errors import NotReleased, QuestionRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from client.site.hospital import Site
    from common.config.study import StudyConfig
    from common.data.loading import PatientTensors
    from common.data.pixels.masks import Shown
    from common.explain.explanation_state import ExplanationState
    from common.models.classifier import Classifier

METHOD = "gradcam"


def check_explained(site: Site, study: StudyConfig) -> None:
    """Refuses what the study does not ask, or the policy keeps.

    Raises:
        QuestionRefused: The study asks for no maps.
        NotReleased: The site's policy keeps them.
    """
    if not study.evaluation.attention:
        raise QuestionRefused("The study does not ask where the model looks (evaluation.attention=false)")
    if not site.policy.attention:
        raise NotReleased("The site's policy keeps where the model looks (attention: false)")


def explained(site: Site, model: Classifier, data: PatientTensors, study: StudyConfig) -> dict[str, Any]:
    """Returns the document that may leave: the state of the test patients, and whether maps follow the weights.

    Patients are put together by what they have, not by how the model called them: a threshold of the hub's choice would
    tell on which side of it somebody lies. Hits are left out: weights that hit for one patient would show her. No
    figure is of fewer patients than the floors of policy and study.
    """
    floor = max(site.policy.min_group, study.evaluation.min_cell)
    places = site.cohort.places(study, "test") if site.cohort.places is not None else None
    state = _state(model, data, places).released(floor)
    return {
        "schema_version": 1,
        "method": METHOD,
        "state": state.to_json(),
        "sanity": _sanity(model, data, study, floor),
    }


def _state(model: Classifier, data: PatientTensors, places: Sequence[Sequence[Shown]] | None) -> ExplanationState:
    import torch

    from common.explain.explanation_state import CLASSES, HITS, ExplanationState
    from common.explain.measured import heatmaps, patient_state, shares_of

    maps, whole = heatmaps(model, data.inputs, METHOD), _whole(data)
    labels = data.patient_labels().tolist()
    states = []
    for index, rows in enumerate(data.rows_of(torch.arange(data.num_patients))):
        own, shown = maps[rows.numpy()], [whole] * len(rows) if places is None else places[index]
        shares = {name: share for name, share in shares_of(own, shown).items() if name not in HITS}
        states.append(patient_state(CLASSES[0 if labels[index] == 1 else 1], own, shares))
    return ExplanationState.total(states)


def _whole(data: PatientTensors) -> Shown:
    """Returns the place of an image that fills its input and has no outline."""
    from common.data.pixels.masks import Shown

    height, width = data.inputs.shape[-2:]
    return Shown((0, height, 0, width), None)


def _sanity(model: Classifier, data: PatientTensors, study: StudyConfig, floor: int) -> dict[str, Any] | None:
    """Returns the check on images of as many patients as the floor asks, one each; None where there are too few."""
    import torch

    from common.explain.measured import SANITY_IMAGES, sanity_of

    if data.num_patients < max(floor, 2) or floor > SANITY_IMAGES:
        return None
    first = torch.stack([rows[0] for rows in data.rows_of(torch.arange(data.num_patients))])
    found = sanity_of(model, data.inputs[first], study.seed, METHOD)
    return {"images": found["images"], "spearman": found["layers"][-1]["spearman"]}
