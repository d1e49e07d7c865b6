"""The result of one exam as DICOM objects of the same study: report, overlay, marks, and if wished the map."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from common.data.pixels.dicom_file import quiet
from common.errors import DataError
from common.inference.dicom_marks import presentation, segmentation
from common.inference.dicom_origin import Device, Predecessor, complete, one_study
from common.inference.dicom_picture import capture
from common.inference.dicom_report import report
from common.inference.picture import verdict
from common.inference.predict import Prediction, attention_of
from common.inference.record import InferenceRecord

if TYPE_CHECKING:
    from pydicom import Dataset

    from common.inference.package import Package

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class ImageResult:
    """One image of an exam.

    Attributes:
        shown: float32 (h, w) or (h, w, 3) in [0, 1].
        heat: Attention in the same frame, float32 (h, w) in [0, 1]; None: there is none, or no answer to explain.
    """

    shown: Floats
    heat: Floats | None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ExamResult:
    """What the objects say.

    Attributes:
        record: Of the prediction.
        model: Name of the package.
        calibrated: Who fitted the probability: ``consortium`` or ``site``.
        patients: On how many.
        attention: What the map is and what its check gave, in words.
        told: What a reader must know besides, in sentences without their stop.
        images: One for each source image, in their order; empty where one could not be read.
    """

    record: InferenceRecord
    model: str
    calibrated: str
    patients: int
    attention: str
    told: tuple[str, ...] = ()
    images: tuple[ImageResult, ...] = ()

    @property
    def percent(self) -> float | None:
        """The probability in percent; None where there is no answer."""
        probability = self.record.probability
        return None if self.record.abstained or probability is None else 100 * probability

    @property
    def triage(self) -> Literal["above", "below", "none"]:
        """On which side of the threshold the exam is."""
        if self.percent is None:
            return "none"
        return "above" if self.record.above_threshold else "below"


def result_of(prediction: Prediction, package: Package) -> ExamResult:
    """Returns what a prediction says; a prediction without an answer has no map."""
    silent = prediction.record.abstained
    images = tuple(
        ImageResult(image.shown, None if silent else attention_of(prediction, number, package))
        for number, image in enumerate(prediction.images)
    )
    return ExamResult(
        record=prediction.record,
        model=package.manifest.name[:64],
        calibrated=prediction.calibration.where,
        patients=prediction.calibration.patients,
        attention=f"{package.attention['label']}; check of the map: {verdict(package.attention)}",
        told=prediction.told,
        images=images,
    )


def dicom_results(
    images: Sequence[Dataset],
    result: ExamResult,
    device: Device,
    *,
    before: Predecessor | None = None,
    segment: bool = False,
) -> list[Dataset]:
    """Returns the objects, the report first; every one is of the study of the images, in a series of its own kind.

    UIDs follow from the record: the same result gives the same objects.

    Args:
        images: Tags of the source images with the four UIDs, in the order of ``result.images``.
        result: Of the exam.
        device: The site's.
        before: The report that this one follows.
        segment: Whether the map is written as a segmentation too.

    Raises:
        DataError: There is no image, or they are of two studies or patients.
    """
    with quiet():
        completed = [complete(image) for image in images]
        if not completed or not one_study(completed):
            raise DataError("expected images of one study and one patient; a report belongs to one study")
        made = [report(completed, result, device, before)]
        for number, image in enumerate(completed if len(result.images) == len(images) else ()):
            made += _of_image(image, result, number, device, segment=segment)
        return made


def _of_image(image: Dataset, result: ExamResult, number: int, device: Device, *, segment: bool) -> list[Dataset]:
    made = [capture(image, result, number, device), presentation(image, result, number, device)]
    if segment and result.images[number].heat is not None:
        made.append(segmentation(image, result, number, device))
    return made
