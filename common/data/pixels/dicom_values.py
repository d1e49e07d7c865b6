"""From stored DICOM values to [0, 1]: modality LUT, VOI LUT or window, inversion (PS3.3 C.11.1, C.11.2, C.7.6.3).

Padding (PS3.3 C.7.5.1.1.2) is no part of the picture: it counts in no range, and is black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.data.pixels.dicom_lut import is_table, look_up

if TYPE_CHECKING:
    from pydicom import Dataset as Tags

Values = NDArray[np.float32]


def to_unit_range(stored: NDArray[Any], tags: Tags) -> Values:
    """Returns float32 in [0, 1], (H, W) or (H, W, 3), bright where the film is bright.

    Args:
        stored: Decoded values, (H, W), or (H, W, 3) already turned to RGB.
        tags: The file's own.

    Raises:
        ValueError: The tags ask for what the values cannot give.
    """
    if stored.ndim == 3:
        return _colour(stored, int(tags.BitsStored))
    if tags.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        painted = apply_color_lut(stored, tags)
        return _colour(painted[..., :3], 8 * painted.dtype.itemsize)
    tissue = ~_padding(stored, tags)
    shown = np.zeros(stored.shape, dtype=np.float32)
    values = _shown(_measured(stored[tissue], tags), tags)
    shown[tissue] = 1.0 - values if is_inverted(tags) else values
    return shown


def is_inverted(tags: Tags) -> bool:
    """Returns whether small values are bright: either attribute that says so counts (:func:`contradicts`)."""
    return tags.PhotometricInterpretation == "MONOCHROME1" or _lut_shape(tags) == "INVERSE"


def contradicts(tags: Tags) -> bool:
    """Returns whether PresentationLUTShape and PhotometricInterpretation disagree.

    IDENTITY goes with MONOCHROME2, and INVERSE with MONOCHROME1 (PS3.3 C.8.11.3.1.2).
    """
    of_shape = {"IDENTITY": "MONOCHROME2", "INVERSE": "MONOCHROME1"}.get(_lut_shape(tags))
    said = str(tags.get("PhotometricInterpretation", ""))
    return of_shape is not None and said in ("MONOCHROME1", "MONOCHROME2") and said != of_shape


def padding_misfits(tags: Tags) -> bool:
    """Returns whether a value of padding is none that BitsStored and PixelRepresentation can hold (C.7.5.1.1.2)."""
    return any(_stored_value(value, tags) != value for value in _padding_values(tags))


def window(values: Values, centre: float, width: float, function: str = "LINEAR") -> Values:
    """Returns the windowed values in [0, 1], by the formulas of PS3.3 C.11.2.1.2 and C.11.2.1.3.

    Raises:
        ValueError: The function is another.
    """
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            shown: Values = (1.0 / (1.0 + np.exp(-4.0 * (values - centre) / width))).astype(np.float32)
            return shown
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise ValueError(f"VOILUTFunction {function}; expected LINEAR, LINEAR_EXACT or SIGMOID")
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1.0
    if width <= 0:
        return (values > centre).astype(np.float32)
    shown = np.clip((values - centre) / width + 0.5, 0.0, 1.0).astype(np.float32)
    return shown


def _measured(stored: NDArray[Any], tags: Tags) -> Values:
    if tags.get("ModalityLUTSequence"):
        return look_up(stored, tags.ModalityLUTSequence[0], little_endian=_little_endian(tags))[0]
    slope, intercept = _first(tags.get("RescaleSlope")), _first(tags.get("RescaleIntercept"))
    if slope is None or intercept is None:  # each goes with the other (PS3.3 C.11.1)
        return stored.astype(np.float32)
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def _shown(values: Values, tags: Tags) -> Values:
    if tags.get("VOILUTSequence") and is_table(tags.VOILUTSequence[0]):
        entries, bits = look_up(values, tags.VOILUTSequence[0], little_endian=_little_endian(tags))
        return entries / np.float32(2**bits - 1)
    centre, width = _first(tags.get("WindowCenter")), _first(tags.get("WindowWidth"))
    function = str(tags.get("VOILUTFunction") or "LINEAR").upper()
    # A width below 1 is not allowed (C.11.2.1.2), yet occurs: it says nothing.
    if centre is not None and width is not None and width >= (1.0 if function == "LINEAR" else 1e-6):
        return window(values, centre, width, function)
    low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    return (values - np.float32(low)) / np.float32(high - low) if high > low else np.zeros_like(values)


def _lut_shape(tags: Tags) -> str:
    return str(tags.get("PresentationLUTShape") or "").strip().upper()


def _little_endian(tags: Tags) -> bool:
    return str(tags.file_meta.TransferSyntaxUID) != "1.2.840.10008.1.2.2" if hasattr(tags, "file_meta") else True


def _padding(stored: NDArray[Any], tags: Tags) -> NDArray[np.bool_]:
    ends = [_stored_value(value, tags) for value in _padding_values(tags)]
    if not ends:
        return np.zeros(stored.shape, dtype=np.bool_)
    inside: NDArray[np.bool_] = (stored >= min(ends)) & (stored <= max(ends))
    return inside


def _padding_values(tags: Tags) -> list[int]:
    """Returns PixelPaddingValue and PixelPaddingRangeLimit; nothing where the first is missing."""
    if tags.get("PixelPaddingValue") in (None, ""):
        return []
    names = ("PixelPaddingValue", "PixelPaddingRangeLimit")
    return [_number(tags.get(name)) for name in names if tags.get(name) not in (None, "")]


def _number(value: Any) -> int:
    # Of VR UN the value comes as bytes: two of them, little endian.
    return int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value)


def _stored_value(value: int, tags: Tags) -> int:
    """Returns what the cell of a pixel with this value reads as: its lower BitsStored bits, with or without sign."""
    bits = int(tags.BitsStored)
    cell = value & ((1 << bits) - 1)
    return cell - (1 << bits) if int(tags.get("PixelRepresentation", 0)) and cell >> (bits - 1) else cell


def _colour(values: NDArray[Any], bits: int) -> Values:
    shown: Values = np.clip(values.astype(np.float32) / np.float32(2**bits - 1), 0.0, 1.0)
    return shown


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, (str, int, float)) or not hasattr(value, "__len__") else value[0])
