"""The result of an exam as a structured report: Comprehensive SR by template TID 1500 (PS3.16)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from common.inference.dicom_origin import (
    NOTICE,
    SCHEME,
    Device,
    Predecessor,
    equipment,
    finished,
    fixed_uid,
    identity,
    sentence,
)
from common.inference.reasons import MEANINGS, Reason

if TYPE_CHECKING:
    from pydicom import Dataset

    from common.inference.dicom_results import ExamResult

PROBABILITY = ("111047", "DCM", "Probability of cancer")
COMMENT = ("121106", "DCM", "Comment")
TRIAGE, SET, WHY = (
    ("OF-1", SCHEME, "Triage group"),
    ("OF-2", SCHEME, "Prediction set"),
    ("OF-3", SCHEME, "Reason for no answer"),
)
GROUPS = {
    "above": ("OF-11", SCHEME, "Above the threshold"),
    "below": ("OF-12", SCHEME, "Below the threshold"),
    "none": ("OF-13", SCHEME, "No answer"),
}
CLASSES = {"benign": ("OF-21", SCHEME, "Benign"), "malignant": ("OF-22", SCHEME, "Malignant")}
REASONS = {reason: (f"OF-3{number:02d}", SCHEME, str(reason)) for number, reason in enumerate(Reason)}
"""Private codes; a number once given keeps its meaning."""
PROCEDURES = {
    "US": ("47079000", "SCT", "Ultrasonography of breast"),
    "MG": ("71651007", "SCT", "Mammography"),
}
IMAGING = ("363679005", "SCT", "Imaging")


def report(images: Sequence[Dataset], result: ExamResult, device: Device, before: Predecessor | None) -> Dataset:
    """Returns the report: complete, not verified by a person, all source images in its evidence.

    Args:
        images: Tags of the source images, of one study.
        result: Of the exam. Where it gives no answer the report has no probability.
        device: That observed.
        before: The report of this exam that this one follows; None: it is the first.
    """
    from highdicom.sr import ComprehensiveSR

    made = ComprehensiveSR(
        evidence=list(images),
        content=_content(images, result, device),
        is_complete=True,
        is_final=True,
        is_verified=False,
        previous_versions=None if before is None else [before.dataset()],
        **identity(result.record.record, "sr"),
        **equipment(device),
    )
    return finished(made, images[0], "OncoFed report")


def _content(images: Sequence[Dataset], result: ExamResult, device: Device) -> Any:
    from highdicom.sr import MeasurementReport

    content = MeasurementReport(
        observation_context=_context(device),
        procedure_reported=_code(PROCEDURES.get(str(images[0].get("Modality")), IMAGING)),
        imaging_measurements=[_group(images, result)],
    )
    _add_comments(content, comments(result))
    return content


def _code(parts: tuple[str, str, str]) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(*parts)


def _context(device: Device) -> Any:
    from highdicom import UID
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext, ObserverContext
    from pydicom.sr.codedict import codes

    observer = DeviceObserverIdentifyingAttributes(
        uid=UID(device.uid), name=device.name, manufacturer_name="OncoFed", model_name="oncofed-site"
    )
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=observer
        )
    )


def _group(images: Sequence[Dataset], result: ExamResult) -> Any:
    from highdicom import UID
    from highdicom.sr import (
        MeasurementsAndQualitativeEvaluations,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    record = result.record
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=UID(fixed_uid(record.record, "exam")), identifier=f"record {record.record}"
        ),
        algorithm_id=_algorithm(result),
        measurements=_measurements(result),
        qualitative_evaluations=_evaluations(result),
        source_images=[SourceImageForMeasurementGroup.from_source_image(image) for image in images],
    )


def _algorithm(result: ExamResult) -> Any:
    from highdicom.sr import AlgorithmIdentification

    record = result.record
    return AlgorithmIdentification(
        name=result.model,
        version=record.model[:16],
        parameters=[
            f"package sha256 {record.model}",
            f"oncofed {record.versions.get('oncofed', '')}",
            f"threshold {100 * record.threshold:.4g} %",
            f"calibrated by {result.calibrated} on {result.patients} patients",
            NOTICE,
        ],
    )


def _measurements(result: ExamResult) -> list[Any]:
    from highdicom.sr import Measurement
    from pydicom.sr.codedict import codes

    if result.percent is None:
        return []
    value = round(result.percent, 4)
    return [Measurement(name=_code(PROBABILITY), value=value, unit=codes.UCUM.Percent, algorithm_id=_algorithm(result))]


def _evaluations(result: ExamResult) -> list[Any]:
    from highdicom.sr import QualitativeEvaluation

    found = [(TRIAGE, GROUPS[result.triage])]
    found += [(WHY, REASONS[reason]) for reason in result.record.reasons]
    if result.percent is not None:
        found += [(SET, CLASSES[name]) for name in result.record.set or ()]
    return [QualitativeEvaluation(name=_code(name), value=_code(value)) for name, value in found]


def comments(result: ExamResult) -> list[str]:
    """Returns what the report says in sentences."""
    reasons = [f"No answer: {MEANINGS[reason]}." for reason in result.record.reasons]
    return [f"{NOTICE} - not a medical device.", *reasons, *(sentence(line) for line in result.told)]


def _add_comments(content: Any, lines: Sequence[str]) -> None:
    """Adds texts to the root; TID 1500 and 1501 are extensible, and no field of theirs holds a sentence."""
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    for line in lines:
        content[0].ContentSequence.append(
            TextContentItem(name=_code(COMMENT), value=line, relationship_type=RelationshipTypeValues.CONTAINS)
        )
