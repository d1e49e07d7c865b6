"""Where the model looked, on the original image: a presentation state, and if wished the map as a segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.inference.dicom_origin import NOTICE, Device, equipment, finished, identity

if TYPE_CHECKING:
    from pydicom import Dataset

    from common.inference.dicom_results import ExamResult

Floats = NDArray[np.float32]
STRONG = 0.5
"""Share of the map's maximum from which a pixel is inside the box."""
LAYER = "ONCOFED"


def presentation(image: Dataset, result: ExamResult, number: int, device: Device) -> Dataset:
    """Returns the presentation state of a source image: a line of text, and a box where there is a map.

    It is of the grayscale kind for a grayscale image and of the colour kind for another.
    """
    from highdicom.pr import ColorSoftcopyPresentationState, GraphicLayer, GrayscaleSoftcopyPresentationState

    layer = GraphicLayer(LAYER, order=1, description=f"OncoFed, {NOTICE}")
    shared: dict[str, Any] = {
        "referenced_images": [image],
        "content_label": LAYER,
        "content_description": f"OncoFed, {NOTICE}",
        "graphic_layers": [layer],
        "graphic_annotations": [_annotation(image, result, number, layer)],
        **identity(result.record.record, "pr", number),
        **equipment(device),
    }
    if str(image.PhotometricInterpretation).startswith("MONOCHROME"):
        return finished(GrayscaleSoftcopyPresentationState(**shared), image, "OncoFed marks")
    return finished(ColorSoftcopyPresentationState(**shared, icc_profile=_profile(image)), image, "OncoFed marks")


def _profile(image: Dataset) -> bytes:
    """Returns the image's colour profile; sRGB, which viewers assume, where it has none."""
    from PIL import ImageCms

    if image.get("ICCProfile"):
        return bytes(image.ICCProfile)
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # DICOM takes input profiles only (PS3.3 C.11.15). sRGB is matrix and curves, so only its device class differs.
    made[12:16] = b"scnr"
    return bytes(made)


def _annotation(image: Dataset, result: ExamResult, number: int, layer: Any) -> Any:
    from highdicom.pr import AnnotationUnitsValues, GraphicAnnotation, GraphicObject, GraphicTypeValues, TextObject

    heat = result.images[number].heat
    found = None if heat is None else box(heat, (int(image.Rows), int(image.Columns)))
    text = TextObject(
        text_value=f"{NOTICE}: {said(result)}", units=AnnotationUnitsValues.DISPLAY, anchor_point=(0.02, 0.04)
    )
    graphics = None
    if found is not None:
        kind, units = GraphicTypeValues.POLYLINE, AnnotationUnitsValues.PIXEL
        graphics = [GraphicObject(graphic_type=kind, graphic_data=corners(found), units=units)]
    return GraphicAnnotation(
        referenced_images=[image], graphic_layer=layer, graphic_objects=graphics, text_objects=[text]
    )


def said(result: ExamResult) -> str:
    """Returns the answer in a few words."""
    if result.percent is None:
        return "no answer"
    return f"{result.percent:.1f} %, {result.triage} threshold"


def box(heat: Floats, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Returns left, top, right, bottom of the strong part of a map, in pixels of an image of ``size``; None: none.

    Coordinates are DICOM's (PS3.3 C.10.5.2): 0 is the outer edge of the first pixel, the length that of the last.

    Args:
        heat: float32 (h, w) in [0, 1], in the frame of the image.
        size: Rows and columns of the image.
    """
    if float(heat.max()) <= 0:
        return None
    strong = heat >= STRONG * heat.max()
    rows, columns = np.flatnonzero(strong.any(1)), np.flatnonzero(strong.any(0))
    tall, wide = size[0] / heat.shape[0], size[1] / heat.shape[1]
    right, bottom = min((columns[-1] + 1) * wide, size[1]), min((rows[-1] + 1) * tall, size[0])
    return float(columns[0] * wide), float(rows[0] * tall), float(right), float(bottom)


def corners(found: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """Returns the closed line around a box, float64 (5, 2), column before row."""
    left, top, right, bottom = found
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])


def segmentation(image: Dataset, result: ExamResult, number: int, device: Device) -> Dataset:
    """Returns the map as a fractional segmentation at the size of the image.

    Raises:
        ValueError: There is no map of this image.
    """
    from highdicom.seg import Segmentation, SegmentationTypeValues

    heat = result.images[number].heat
    if heat is None:
        raise ValueError("expected a map; this image has none")
    size = int(image.Columns), int(image.Rows)
    whole = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    made = Segmentation(
        source_images=[image],
        pixel_array=np.clip(whole, 0, 1)[None],
        segmentation_type=SegmentationTypeValues.FRACTIONAL,
        segment_descriptions=[_segment(result)],
        content_description=f"Attention, {NOTICE}",
        omit_empty_frames=False,
        **identity(result.record.record, "seg", number),
        **equipment(device),
    )
    made.PatientOrientation = image.get("PatientOrientation") or ""
    return finished(made, image, "OncoFed attention")


def _segment(result: ExamResult) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentificationSequence(
        name=result.model,
        family=CodedConcept("123109", "DCM", "Artificial Intelligence"),
        version=result.record.model[:16],
        parameters={"package sha256": result.record.model},
    )
    return SegmentDescription(
        segment_number=1,
        segment_label="Attention of the model",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
