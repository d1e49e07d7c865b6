"""The overlay as a Secondary Capture: what every viewer shows, with the notice and the answer burned in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from common.inference.dicom_origin import NOTICE, Device, equipment, finished, identity, sentence
from common.inference.picture import COLOURS, covered, in_colour, with_lines
from common.inference.reasons import MEANINGS

if TYPE_CHECKING:
    from pydicom import Dataset

    from common.inference.dicom_results import ExamResult, ImageResult

SIDE, BANNER = 768, 34
"""Pixels of the longer side of each of the two pictures, and of the banner's height."""
_INK, _GROUND = (0, 0, 0), (255, 214, 0)


def capture(image: Dataset, result: ExamResult, number: int, device: Device) -> Dataset:
    """Returns the picture of the exam's image ``number`` as an RGB Secondary Capture; it says that letters are in it.

    Args:
        image: Tags of the source image.
        result: Of the exam.
        number: Of the image, from 0.
        device: That made it.
    """
    from highdicom.sc import SCImage
    from pydicom.uid import ExplicitVRLittleEndian

    shared = {**identity(result.record.record, "sc", number), **equipment(device)}
    made = SCImage.from_ref_dataset(
        ref_dataset=image, pixel_array=pixels(result, number), photometric_interpretation="RGB", bits_allocated=8,
        coordinate_system="PATIENT", patient_orientation=("L", "F"), transfer_syntax_uid=ExplicitVRLittleEndian,
        **shared,
    )  # fmt: skip
    # Two pictures and a line of text have no anatomical direction: the value is known to be none.
    made.PatientOrientation = []
    made.BurnedInAnnotation = "YES"
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    made.DerivationDescription = f"Attention of a model over the image, {NOTICE}"
    made.SourceImageSequence = [_reference(image)]
    return finished(made, image, "OncoFed overlay")


def _reference(image: Dataset) -> Any:
    from highdicom.sr import CodedConcept
    from pydicom import Dataset

    found = Dataset()
    found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    purpose = CodedConcept("121322", "DCM", "Source image for image processing operation")
    found.PurposeOfReferenceCodeSequence = [purpose]
    return found


def pixels(result: ExamResult, number: int) -> NDArray[np.uint8]:
    """Returns the picture, uint8 (H, W, 3): the image, beside it the image under the map, banner above, lines below.

    Where there is no answer, no map or nothing on it, the image stands alone.
    """
    one = result.images[number]
    plain = in_colour(one.shown)
    shown = [plain, covered(plain, one.heat)] if one.heat is not None and has_map(one) else [plain]
    pair = np.concatenate([_scaled(picture) for picture in shown], axis=1)
    return _under_banner(with_lines(pair, lines(result, number)))


def has_map(one: ImageResult) -> bool:
    """Returns whether there is a map, and anything on it."""
    return one.heat is not None and float(one.heat.max()) > 0


def lines(result: ExamResult, number: int) -> list[str]:
    """Returns the lines below the picture."""
    record = result.record
    model = f"Model {result.model}, package {record.model[:16]}, record {record.record[:16]}."
    if result.percent is None:
        return ["NO ANSWER.", *(sentence(MEANINGS[reason]) for reason in record.reasons), model]
    answer = f"Probability of malignancy {result.percent:.1f} %, {result.triage} the threshold of "
    told = [f"{answer}{100 * record.threshold:.1f} %.", *(sentence(line) for line in result.told)]
    one = result.images[number]
    if has_map(one):
        told.append(f"Right: {result.attention}; colours {COLOURS}.")
    elif one.heat is not None:
        told.append("The map is blank: nothing in this image spoke for malignant.")
    return [*told, model]


def _scaled(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    scale = SIDE / max(picture.shape[:2])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    image = Image.fromarray(np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / np.float32(255)


def _under_banner(picture: Image.Image) -> NDArray[np.uint8]:
    whole = Image.new("RGB", (picture.width, picture.height + BANNER), _GROUND)
    whole.paste(picture, (0, BANNER))
    text = f"{NOTICE} - NOT A MEDICAL DEVICE"
    font = _fitting(text, picture.width)
    ImageDraw.Draw(whole).text((whole.width / 2, BANNER / 2), text, fill=_INK, font=font, anchor="mm")
    return np.asarray(whole)


def _fitting(text: str, width: int) -> Any:
    sizes: Sequence[int] = (22, 18, 14, 11, 9, 7)
    fonts = [ImageFont.load_default(size) for size in sizes]
    return next((font for font in fonts if font.getlength(text) <= width - 8), fonts[-1])
