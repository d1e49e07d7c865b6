"""Checks of how a DICOM file says it is to be shown, where two of its words contradict each other or one is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from common.data.checks.finding import Finding
from common.data.pixels.dicom_file import is_dicom, lacks_wrapping, tags_or_none
from common.data.pixels.dicom_values import contradicts, padding_misfits

KINDS: Mapping[str, tuple[str, str]] = {
    "dicom-unwrapped": (
        "DICOM files without preamble or without a transfer syntax",
        "They are read by what their bytes look like, as viewers do: save them anew with dcmconv or gdcmconv.",
    ),
    "lut-shape": (
        "DICOM files whose PresentationLUTShape and PhotometricInterpretation contradict each other",
        "They are read as inverted, for one of the two says so. Look at some: is tissue bright? Else correct the tag.",
    ),
    "padding-misfit": (
        "DICOM files whose PixelPaddingValue is no value that their BitsStored can hold",
        "Its lower bits are taken as padding, and are black. Look at some, and correct the tag.",
    ),
}


def check_dicom_display(files: Iterable[Path]) -> list[Finding]:
    """Returns what is in doubt in how the files are to be shown, each kind once; all are warnings.

    Files that are no DICOM and those that cannot be read are passed over; they are other checks'.
    """
    found: dict[str, list[str]] = {}
    for path in files:
        for code in _doubts(path):
            found.setdefault(code, []).append(path.as_posix())
    return [
        Finding(code=code, severity="warning", what=KINDS[code][0], count=len(names), records=tuple(names),
                fix=KINDS[code][1])
        for code, names in found.items()
    ]  # fmt: skip


def _doubts(path: Path) -> Iterator[str]:
    tags = tags_or_none(path) if is_dicom(path) else None
    if tags is None:
        return
    if lacks_wrapping(path):
        yield "dicom-unwrapped"
    if contradicts(tags):
        yield "lut-shape"
    try:
        misfits = padding_misfits(tags)
    except (AttributeError, TypeError, ValueError):  # BitsStored is missing or no number: the file cannot be read
        return
    if misfits:
        yield "padding-misfit"
