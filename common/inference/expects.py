"""``expects.json``: which images a model was trained on, so that others get no score."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from common.config.study import StudyConfig

Modality = Literal["US", "MG", "SM"]
MODALITIES: dict[Modality, tuple[str, ...]] = {
    "US": ("bus_bra", "busi", "bus_uc", "bus_uclm", "breast_lesions_usg", "breastmnist", "phantom"),
    "MG": ("cbis_ddsm", "cmmd", "embed", "inbreast", "mias", "rsna", "vindr_mammo"),
    "SM": ("bach", "breakhis", "idc", "pcam"),
}
"""DICOM modality of each public layout; a hospital's own manifest says none."""
SCREENING_VIEWS = ("CC", "MLO")
USUAL = 0.5
"""Share of marked training images from which marks are no reason to abstain."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expects:
    """What an exam must be.

    Attributes:
        modality: DICOM modality; None: not stated, so it is not checked.
        views: Mammography views; empty: any.
        intent: PresentationIntentType that mammograms must have where they state one.
        marked_share: Share of training images with letters or calipers burned in; None: not
            known.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    modality: Modality | None
    views: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2,4}$")], ...]
    intent: Literal["presentation"] = "presentation"
    marked_share: Annotated[float, Field(ge=0, le=1)] | None = None

    @property
    def takes_marks(self) -> bool:
        """Whether images with marks are like those of the training, so that they get an answer, and a note."""
        return self.marked_share is not None and self.marked_share >= USUAL


ADAPTER = TypeAdapter(Expects)


def expected_of(study: StudyConfig, marked_share: float | None = None) -> Expects:
    """Returns what the study's data tell of the images, and which share of them is marked, if that is known."""
    modality = next((kind for kind, names in MODALITIES.items() if study.data.name in names), None)
    column, _, values = study.data.only.partition(":")
    chosen = tuple(value.strip() for value in values.split(",")) if column == "view" else ()
    views = chosen or (SCREENING_VIEWS if modality == "MG" else ())
    return Expects(modality=modality, views=views, marked_share=marked_share)
