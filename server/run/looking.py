"""Where the common model looks, from what each site lets leave: states that add over sites, and what is not told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import DataError
from common.evaluation.answers import number
from common.evaluation.subgroups import OTHER
from common.explain.attention import LABEL
from common.explain.explanation_state import CLASSES, ExplanationState
from common.protocol.messages import SiteCard
from server.run.cards import most_scored

SCHEMA_VERSION = 1
MOST_IMAGES = 1_000
_FIELDS = {"schema_version", "method", "state", "sanity"}


@dataclass(frozen=True, slots=True)
class Looked:
    """One site's answer.

    Attributes:
        state: Sums by class.
        images: On how many images it was tried whether the maps follow the weights; 0: on none.
        spearman: Mean rank correlation with maps of a network that has forgotten everything; None: there is none.
    """

    state: ExplanationState
    images: int = 0
    spearman: float | None = None


def read_looked(document: object, bins: int) -> Looked:
    """Returns a site's answer, read strictly; ``bins`` is not used.

    Raises:
        DataError: A field is missing, or a value is not what the field may hold.
    """
    if not isinstance(document, Mapping) or set(document) != _FIELDS or document["schema_version"] != SCHEMA_VERSION:
        raise DataError("Expected a site's answer where the model looks, got other fields")
    if document["method"] != "gradcam":
        raise DataError("Expected maps of gradcam from a site")
    state = ExplanationState.from_json(document["state"])
    if not set(state.cells) <= {*CLASSES, OTHER}:
        raise DataError("Expected a site's maps by class")
    return Looked(state, *_sanity(document["sanity"]))


def _sanity(found: object) -> tuple[int, float | None]:
    if found is None:
        return 0, None
    if not isinstance(found, Mapping) or set(found) != {"images", "spearman"}:
        raise DataError("Expected images and spearman in a site's check of maps")
    images, value = found["images"], found["spearman"]
    if type(images) is not int or not 1 <= images <= MOST_IMAGES:
        raise DataError(f"Expected 1 to {MOST_IMAGES} images in a site's check of maps")
    return images, None if value is None else number(value, -1, 1)


def fits_card(card: SiteCard, looked: Looked) -> bool:
    """Returns whether a site told of no more patients than its card counts in the test, or than it can have."""
    told = card.counts.get("test", {})
    most = {name: told.get(name) for name in (*CLASSES, "patients")}
    found = {name: cell.patients for name, cell in looked.state.cells.items()} | {
        "patients": looked.state.whole.patients
    }
    limit = most_scored(card.declared_patients)
    return all(count <= (limit if (known := most.get(name)) is None else known) for name, count in found.items())


def explanation(answers: Mapping[str, Looked | None], *, confidence: float, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``explanation.json``.

    Args:
        answers: By site; None: it keeps where the model looks.
        confidence: Of the limits.
        facts: Of the run: what names it, and its threshold.
    """
    told = {site: looked for site, looked in answers.items() if looked is not None}
    pooled = ExplanationState.total(looked.state for looked in told.values())
    return {
        "schema_version": SCHEMA_VERSION, **facts, "label": LABEL, "method": "gradcam", "unit": "patient",
        "confidence": confidence, "by": "class",
        "sites": {
            site: {"state": looked.state.to_json(), "summary": looked.state.summarise(confidence)}
            for site, looked in told.items()
        },
        "kept": sorted(site for site, looked in answers.items() if looked is None),
        "pooled": pooled.summarise(confidence),
        "sanity": _together(list(told.values())),
    }  # fmt: skip


def _together(answers: list[Looked]) -> dict[str, Any] | None:
    """Returns the mean rank correlation over the sites' images, and what it says; None where no site could try."""
    from common.explain.randomisation import judged

    tried = [(one.images, one.spearman) for one in answers if one.spearman is not None]
    if not tried:
        return None
    images = sum(count for count, _ in tried)
    mean = sum(count * value for count, value in tried) / images
    return {"images": images, "spearman": mean, "verdict": judged(mean)}
