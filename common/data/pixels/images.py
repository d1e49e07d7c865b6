"""Image files to float arrays, whatever mode they were saved in. Knows nothing of patients or labels."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from common.data.pixels.limits import MAX_PIXELS
from common.errors import DataError

_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_SUBFILE, _BITS, _PHOTOMETRIC = 254, 258, 262
"""Tags of TIFF 6.0: NewSubfileType, BitsPerSample, PhotometricInterpretation."""
_WHITE_IS_ZERO = 0


@dataclasses.dataclass(frozen=True)
class ImageFiles:
    """Reads images by their path relative to ``folder``; a picklable :data:`common.data.manifest.PixelSource`."""

    folder: Path

    def __call__(self, key: str) -> NDArray[np.float32]:
        return read_image(self.folder / key)


def read_image(path: Path) -> NDArray[np.float32]:
    """Returns the pixels as float32 in [0, 1]: (H, W) for grey and 1-bit files, (H, W, 3) for colour.

    Alpha is dropped, 16-bit grey is divided by 65535 (TIFF of fewer bits by what these hold), a TIFF whose white is
    zero is inverted, and EXIF rotation is applied. Floats are taken as they are, from 0 to 1. DICOM is read as
    :func:`common.data.pixels.dicom.read_dicom` does.

    Raises:
        DataError: The file is missing, truncated, larger than :data:`MAX_PIXELS`, in no format we know, of several
            pages, or its values lie outside of their range.
    """
    from common.data.pixels.dicom import read_dicom
    from common.data.pixels.dicom_file import is_dicom

    if is_dicom(path):
        return read_dicom(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns of oddities in files it can read all the same; those it cannot read raise.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return _pixels(image)
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image we can read; {_wanted(path)}") from None
    except _UnfitPicture as error:
        raise DataError(f"{path} {error}") from None
    # Pillow's decoders raise nearly every built-in error on damaged bytes (TypeError on a TIFF's tags, for one).
    except Exception as error:
        raise DataError(f"{path} is missing or damaged ({error}); export it again") from None


def read_alpha(path: Path) -> NDArray[np.float32]:
    """Returns how opaque each pixel is, float32 (H, W) in [0, 1].

    Raises:
        DataError: The file cannot be read, or has no alpha channel.
    """
    try:
        with Image.open(path) as image:
            if "A" not in image.getbands():
                raise _UnfitPicture("has no alpha channel, in which its mask should stand; copy the published file")
            return np.asarray(image.getchannel("A"), dtype=np.float32) / np.float32(255.0)
    except _UnfitPicture as error:
        raise DataError(f"{path} {error}") from None
    except Exception as error:
        raise DataError(f"{path} is missing or damaged ({error}); export it again") from None


def read_size(path: Path) -> tuple[int, int]:
    """Returns height and width by the header of a picture, without decoding it.

    Raises:
        DataError: The file is no picture that can be read.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception as error:
        raise DataError(f"{path} is missing or damaged ({error}); export it again") from None


def _wanted(path: Path) -> str:
    """Returns what was expected of a file that Pillow does not know; of TIFF it knows some kinds only."""
    with path.open("rb") as file:
        tiff = file.read(4) in (b"II*\0", b"MM\0*")
    return "save the TIFF as 8- or 16-bit grey, black zero" if tiff else "expected DICOM, PNG, JPEG, TIFF, BMP or PGM"


class _UnfitPicture(Exception):
    """The file is whole, but what it holds is in doubt."""


def _pixels(image: Image.Image) -> NDArray[np.float32]:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels; expected at most {MAX_PIXELS}")
    tags: dict[int, Any] = dict(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    _check_pages(image)
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F" or upright.mode in _DEEP:
        most = 1.0 if upright.mode == "F" else _most(tags)
        deep = _within(np.asarray(upright, dtype=np.float32), most)
        # Pillow inverts 8 bits and fewer by itself, and no others.
        return 1.0 - deep if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else deep
    target = "L" if upright.mode in ("1", "L", "LA", "La") else "RGB"
    return np.asarray(upright.convert(target), dtype=np.float32) / np.float32(255.0)


def _check_pages(image: Image.Image) -> None:
    """Refuses several pictures in one file; smaller copies and masks of the first (NewSubfileType) are none."""
    if getattr(image, "n_frames", 1) == 1 or image.format not in ("TIFF", "GIF", "PNG", "WEBP"):
        return
    pages = range(1, image.n_frames)  # type: ignore[attr-defined]
    others = [page for page in pages if image.format != "TIFF" or not _subfile(image, page)]
    image.seek(0)
    if others:
        raise _UnfitPicture(f"holds {len(others) + 1} pictures; export each to a file of its own")


def _subfile(image: Image.Image, page: int) -> int:
    image.seek(page)
    return int(image.tag_v2.get(_SUBFILE, 0)) & 0b101  # type: ignore[attr-defined]


def _most(tags: dict[int, Any]) -> float:
    """Returns the greatest value of a grey pixel of up to 16 bits; those of 32 bits are taken to hold 16."""
    return float(2 ** min(16, int(tags[_BITS][0])) - 1) if _BITS in tags else 65535.0


def _within(values: NDArray[np.float32], most: float) -> NDArray[np.float32]:
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= most:  # also where one is not a number
        raise _UnfitPicture(f"holds values from {low:g} to {high:g}; expected 0 to {most:g}: export it as 16-bit grey")
    return values / np.float32(most)
