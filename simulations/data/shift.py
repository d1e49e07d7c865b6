"""Scanner shift: each emulated hospital sees its images through another machine.

Gain, contrast, sharpness and speckle change by site and stay fixed within it; strength 0 changes nothing, 1 is about
what tells two makes of scanner apart. Masks and tables pass unchanged.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from common.data.manifest import Dataset, PixelSource, mask_keys


@dataclasses.dataclass(frozen=True)
class ScannerShift:
    """One site's machine.

    Args:
        gain: Factor of all intensities.
        gamma: Exponent of the intensities; above 1 darkens the middle.
        blur: Gaussian width as a share of the longer side.
        speckle: Standard deviation of multiplicative noise.
    """

    gain: float
    gamma: float
    blur: float
    speckle: float

    @classmethod
    def draw(cls, site_index: int, strength: float, seed: int) -> ScannerShift:
        """Returns the machine of a site; at strength 0 the identity."""
        generator = np.random.default_rng([seed, site_index])
        return cls(
            gain=float(np.exp(strength * generator.normal(0, 0.20))),
            gamma=float(np.exp(strength * generator.normal(0, 0.30))),
            blur=float(strength * abs(generator.normal(0, 0.006))),
            speckle=float(strength * abs(generator.normal(0, 0.12))),
        )

    def apply(self, pixels: NDArray[np.float32], noise_seed: int) -> NDArray[np.float32]:
        """Returns the pixels as this machine shows them, float32 of the same shape in [0, 1]."""
        width = self.blur * max(pixels.shape[:2])
        widths = (width, width, 0.0)[: pixels.ndim]
        blurred = gaussian_filter(pixels, widths, mode="nearest")
        # Colour channels share the noise: ultrasound is grey.
        noise = np.random.default_rng(noise_seed).standard_normal(pixels.shape[:2], dtype=np.float32)
        grainy = blurred * (1 + self.speckle * noise.reshape(noise.shape + (1,) * (pixels.ndim - 2)))
        seen: NDArray[np.float32] = np.clip(self.gain * np.clip(grainy, 0, 1) ** self.gamma, 0, 1).astype(np.float32)
        return seen


@dataclasses.dataclass(frozen=True)
class _Shifted:
    read: PixelSource
    shift: ScannerShift
    unchanged: frozenset[str]

    def __call__(self, key: str) -> NDArray[np.float32]:
        pixels = self.read(key)
        if key in self.unchanged:
            return pixels
        noise_seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
        return self.shift.apply(pixels, noise_seed)


def shift_site(dataset: Dataset, site_index: int, strength: float, seed: int) -> Dataset:
    """Returns the data set seen through the machine of site ``site_index``; the same arguments give the same pixels."""
    if dataset.kind == "table" or not strength:
        return dataset
    masks = frozenset(key for record in dataset.records for key in mask_keys(record))
    shift = ScannerShift.draw(site_index, strength, seed)
    note = f"Shown through an emulated scanner (partition.shift={strength:g})."
    read = _Shifted(dataset.read, shift, masks)
    return dataclasses.replace(dataset, read=read, notes=(*dataset.notes, note))
