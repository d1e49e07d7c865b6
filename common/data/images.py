"""Image files to float arrays, whatever mode they were saved in. Knows nothing of patients or labels."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from common.errors import DataError

MAX_PIXELS = 100_000_000
"""Larger than any whole mammogram; a file that claims more is damaged or hostile."""
_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")


@dataclasses.dataclass(frozen=True)
class ImageFiles:
    """Reads images by their path relative to ``folder``; a picklable :data:`common.data.manifest.PixelSource`."""

    folder: Path

    def __call__(self, key: str) -> NDArray[np.float32]:
        return read_image(self.folder / key)


def read_image(path: Path) -> NDArray[np.float32]:
    """Returns the pixels as float32 in [0, 1]: (H, W) for grey and 1-bit files, (H, W, 3) for colour.

    Alpha is dropped, 16-bit grey is divided by 65535, and EXIF rotation is applied. DICOM is read as
    :func:`common.data.dicom.read_dicom` does.

    Raises:
        DataError: The file is missing, truncated, larger than :data:`MAX_PIXELS` or in no format we know.
    """
    from common.data.dicom import is_dicom, read_dicom

    if is_dicom(path):
        return read_dicom(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns of oddities in files it can read all the same; those it cannot read raise.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return _pixels(image)
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image we can read; expected DICOM, PNG, JPEG, TIFF, BMP or PGM") from None
    # Pillow's decoders raise nearly every built-in error on damaged bytes (TypeError on a TIFF's tags, for one).
    except Exception as error:
        raise DataError(f"{path} is missing or damaged ({error}); export it again") from None


def _pixels(image: Image.Image) -> NDArray[np.float32]:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels; expected at most {MAX_PIXELS}")
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _SIXTEEN_BIT:
        deep: NDArray[np.float32] = np.clip(np.asarray(upright, dtype=np.float32) / 65535.0, 0.0, 1.0)
        return deep
    target = "L" if upright.mode in ("1", "L", "LA", "La") else "RGB"
    return np.asarray(upright.convert(target), dtype=np.float32) / np.float32(255.0)
