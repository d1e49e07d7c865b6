"""DICOM files: what their header says of the view, and their pixels as the other readers give them.

The steps from stored values to display are those of PS3.3 C.11 (:mod:`common.data.pixels.dicom_values`). Compressed
pixels are decoded in a process of their own (:mod:`common.data.pixels.isolated`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.data.files.tree import files_below
from common.data.pixels.dicom_file import UnfitFile, is_dicom, open_tags, quiet
from common.data.pixels.isolated import decode
from common.data.pixels.limits import MAX_PIXELS
from common.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset as Tags

MAX_BYTES = 1 << 30
"""Larger than any single image of :data:`common.data.pixels.limits.MAX_PIXELS`; whole volumes are larger."""
DECODERS = "pip install 'oncofed[dicom]' (and 'oncofed[jpeg12]' for lossy 12-bit JPEG)"
_RLE = "1.2.840.10008.1.2.5"
_SIDES = {"L": "left", "LEFT": "left", "R": "right", "RIGHT": "right"}
_VIEW_CODES = {
    "399162004": "CC", "R-10242": "CC",
    "399368009": "MLO", "R-10226": "MLO",
    "399260004": "ML", "R-10224": "ML",
    "399352003": "LM", "R-10228": "LM",
    "399099002": "LMO", "R-10230": "LMO",
    "399196006": "FB", "R-10244": "FB",
    "399192008": "XCCL", "R-1024A": "XCCL",
    "399101009": "XCCM", "R-1024B": "XCCM",
}  # fmt: skip
"""PS3.16 CID 4014 in SNOMED CT and in the older SNOMED RT."""
VIEWS = frozenset(_VIEW_CODES.values())
_WORD = re.compile(r"[A-Z]+")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class DicomHeader:
    """What a reader needs of a file's tags; empty strings are unknown.

    Args:
        patient: PatientID as written; some archives put more than a patient into it.
        side: ``left`` or ``right``.
        view: ``CC``, ``MLO`` or another of :data:`VIEWS`.
        intent: ``presentation`` or ``processing`` (PresentationIntentType).
        modality: ``MG``, ``US`` or another.
        description: SeriesDescription.
        scanner: Manufacturer and model.
        rows: Height in pixels.
        columns: Width in pixels.
    """

    patient: str
    side: str
    view: str
    intent: str
    modality: str
    description: str
    scanner: str
    rows: int
    columns: int


def read_header(path: Path) -> DicomHeader:
    """Returns what the tags say, without decoding a pixel.

    Raises:
        DataError: The file is no DICOM, is damaged, or holds no image that :func:`read_dicom` would read.
    """
    with _own_words(path):
        tags = _tags(path, pixels=False)
        _check(tags, pixels=False)
        return DicomHeader(
            patient=_text(tags, "PatientID"),
            side=_side(tags),
            view=_view(tags),
            intent=_text(tags, "PresentationIntentType").lower().removeprefix("for "),
            modality=_text(tags, "Modality"),
            description=_text(tags, "SeriesDescription"),
            scanner=f"{_text(tags, 'Manufacturer')} {_text(tags, 'ManufacturerModelName')}".strip(),
            rows=int(tags.Rows),
            columns=int(tags.Columns),
        )


def read_dicom(path: Path) -> NDArray[np.float32]:
    """Returns the image as it is meant to be seen, float32 in [0, 1]: (H, W) for grey, (H, W, 3) for colour.

    Rescale and VOI LUT or window are applied, MONOCHROME1 is inverted (so tissue is bright), padding is black. Where
    no window is written, the least and the greatest value that is no padding become 0 and 1. The breast is neither
    turned nor cropped (:func:`common.data.pixels.breast.crop_and_turn`).

    Raises:
        DataError: The file is damaged, holds several frames or no image, or its decoder is not installed.
    """
    from common.data.pixels.dicom_values import to_unit_range

    with _own_words(path):
        tags = _tags(path, pixels=True)
        _check(tags, pixels=True)
        return to_unit_range(_stored(path, tags), tags)


def scan(folder: Path) -> tuple[dict[str, DicomHeader], dict[str, str]]:
    """Returns the headers of all DICOM images below the folder by relative path, and why others were set aside."""
    found: dict[str, DicomHeader] = {}
    refused: dict[str, str] = {}
    for path in (path for path in files_below(folder) if is_dicom(path)):
        key = path.relative_to(folder).as_posix()
        try:
            found[key] = read_header(path)
        except DataError as error:
            refused[key] = str(error)
    return found, refused


@contextmanager
def _own_words(path: Path) -> Iterator[None]:
    """Turns what pydicom raises into a DataError that names the file."""
    try:
        with quiet():
            yield
    except UnfitFile as error:
        raise DataError(f"{path} {error}") from None
    except DataError:
        raise
    # On damaged bytes pydicom raises nearly every built-in error; none of them tells the user more.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is no DICOM file we can read ({reason}); export it again") from None


def _tags(path: Path, *, pixels: bool) -> Tags:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UnfitFile(f"has {size} bytes; expected a single image of at most {MAX_BYTES}")
    return open_tags(path, pixels=pixels)


def _check(tags: Tags, *, pixels: bool) -> None:
    if "Rows" not in tags or "Columns" not in tags or (pixels and "PixelData" not in tags):
        raise UnfitFile(f"holds no image (modality {_text(tags, 'Modality') or 'unknown'}); leave it out")
    frames = int(tags.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UnfitFile(f"holds {frames} frames (tomosynthesis, volume or film loop); export single images")
    rows, columns, samples = int(tags.Rows), int(tags.Columns), int(tags.get("SamplesPerPixel", 1))
    if not 0 < rows * columns <= MAX_PIXELS:
        raise UnfitFile(f"says {rows} x {columns} pixels; expected 1 to {MAX_PIXELS}")
    if samples not in (1, 3) or int(tags.get("BitsAllocated", 16)) not in (1, 8, 16, 32):
        raise UnfitFile(f"has {samples} samples of {tags.get('BitsAllocated')} bits; expected 1 or 3 of 1, 8, 16 or 32")


def _stored(path: Path, tags: Tags) -> NDArray[Any]:
    from pydicom.pixels.utils import pixel_array

    syntax = tags.file_meta.TransferSyntaxUID
    most = int(tags.Rows) * int(tags.Columns) * int(tags.get("SamplesPerPixel", 1)) * 4
    if not syntax.is_compressed or syntax == _RLE:
        return pixel_array(tags)
    try:
        return decode(path, "dicom", most_bytes=most)
    except DataError as error:
        missing = "missing dependencies" in str(error) or "missing required dependencies" in str(error)
        raise DataError(f"{error}. {syntax.name} needs a decoder: {DECODERS}") if missing else error from None


def _text(tags: Tags, name: str) -> str:
    return str(tags.get(name) or "").strip()


def _first_known(choices: Iterator[str], known: Callable[[str], T | None]) -> T | None:
    return next((value for choice in choices for word in _WORD.findall(choice.upper()) if (value := known(word))), None)


def side_and_view(tags: Tags) -> tuple[str, str]:
    """Returns the side and the view as :class:`DicomHeader` has them."""
    return _side(tags), _view(tags)


def _side(tags: Tags) -> str:
    names = ("ImageLaterality", "Laterality", "FrameLaterality", "SeriesDescription", "PatientID")
    return _first_known((_text(tags, name) for name in names), _SIDES.get) or ""


def _view(tags: Tags) -> str:
    code = next((_VIEW_CODES.get(_text(item, "CodeValue")) for item in tags.get("ViewCodeSequence") or ()), None)
    # CBIS-DDSM has the view in PatientOrientation, others in a description only.
    names = ("ViewPosition", "PatientOrientation", "SeriesDescription", "AcquisitionDeviceProcessingDescription")
    return (
        code or _first_known((_text(tags, name) for name in names), lambda word: word if word in VIEWS else None) or ""
    )
