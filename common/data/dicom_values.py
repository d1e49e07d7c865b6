"""From stored DICOM values to [0, 1]: modality LUT, VOI LUT or window, inversion (PS3.3 C.11.1, C.11.2, C.7.6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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
    values = _shown(_measured(stored, tags), tags)
    if tags.PhotometricInterpretation == "MONOCHROME1":
        values = 1.0 - values
    padding = _padding(stored, tags)
    return values if padding is None else np.where(padding, np.float32(0), values)


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
        from pydicom.pixels.processing import apply_modality_lut

        return apply_modality_lut(stored, tags).astype(np.float32)
    slope, intercept = float(tags.get("RescaleSlope") or 1.0), float(tags.get("RescaleIntercept") or 0.0)
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _shown(values: Values, tags: Tags) -> Values:
    if tags.get("VOILUTSequence"):
        return _looked_up(values, tags.VOILUTSequence[0])
    centre, width = _first(tags.get("WindowCenter")), _first(tags.get("WindowWidth"))
    function = str(tags.get("VOILUTFunction") or "LINEAR").upper()
    # A width below 1 is not allowed (C.11.2.1.2), yet occurs: it says nothing.
    if centre is not None and width is not None and width >= (1.0 if function == "LINEAR" else 1e-6):
        return window(values, centre, width, function)
    low, high = float(values.min()), float(values.max())
    return (values - np.float32(low)) / np.float32(high - low) if high > low else np.zeros_like(values)


def _looked_up(values: Values, table: Tags) -> Values:
    """PS3.3 C.11.2.1.1: values below the first mapped take the first entry, those past the last the last."""
    _, start, bits = (int(number) for number in table.LUTDescriptor)
    raw = table.LUTData
    # VR OW comes as bytes; little endian is what every syntax but a retired one writes.
    entries = np.frombuffer(raw, dtype="<u2") if isinstance(raw, bytes) else np.asarray(raw, dtype=np.float32)
    at = np.clip(np.rint(values) - start, 0, len(entries) - 1).astype(np.int64)
    shown: Values = np.clip(entries[at].astype(np.float32) / np.float32(2**bits - 1), 0.0, 1.0)
    return shown


def _padding(stored: NDArray[Any], tags: Tags) -> NDArray[np.bool_] | None:
    if tags.get("PixelPaddingValue") is None:
        return None
    low = int(tags.PixelPaddingValue)
    high = int(tags.get("PixelPaddingRangeLimit", low))
    inside: NDArray[np.bool_] = (stored >= min(low, high)) & (stored <= max(low, high))
    return inside


def _colour(values: NDArray[Any], bits: int) -> Values:
    shown: Values = np.clip(values.astype(np.float32) / np.float32(2**bits - 1), 0.0, 1.0)
    return shown


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, (str, int, float)) or not hasattr(value, "__len__") else value[0])
