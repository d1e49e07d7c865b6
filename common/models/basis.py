"""The public basis: principal directions of public features, in which a private model has few coordinates."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from common.errors import ModelError

LEAST_VARIANCE = 1e-8
"""Directions with a smaller share of the largest variance are rounding, and are left out."""


@dataclasses.dataclass(frozen=True, eq=False)
class PublicBasis:
    """A centre and orthonormal directions, made from public images only.

    Attributes:
        mean: float32 (D,), the mean of the public features.
        directions: float32 (D, d), orthonormal columns; the largest entry of each is positive.
        eigenvalues: float64 (d,), variance of the public features along each direction (divisor N), descending, > 0.
    """

    mean: NDArray[np.float32]
    directions: NDArray[np.float32]
    eigenvalues: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Raises ModelError when the parts do not fit each other, or hold what no basis holds."""
        shapes = [part.shape for part in (self.mean, self.directions, self.eigenvalues)]
        if shapes != [(len(self.directions),), self.directions.shape[:2], self.directions.shape[1:]]:
            raise ModelError(
                f"A public basis needs shapes (D,), (D, d) and (d,), got {shapes}; make the checkpoint anew"
            )
        if not all(np.isfinite(part).all() for part in (self.mean, self.directions, self.eigenvalues)):
            raise ModelError("A public basis holds values that are not finite; make the checkpoint anew")
        if not (np.diff(self.eigenvalues) <= 0).all() or not (self.eigenvalues > 0).all():
            raise ModelError("The eigenvalues of a public basis must be positive and fall; make the checkpoint anew")

    @classmethod
    def of(cls, features: NDArray[np.float32], dimensions: int) -> PublicBasis:
        """Returns the principal directions of ``features`` (N, D): ``dimensions`` of them, or as many as there are.

        Principal component analysis through the smaller of the two Gram matrices (Jolliffe 2002, sections 3.5, 10.1).

        Raises:
            ModelError: ``dimensions`` is below 1, or the features do not vary.
        """
        if dimensions < 1 or features.ndim != 2 or len(features) < 2:
            raise ModelError(f"A basis needs features (N, D) of two images and a dimension, got {features.shape}")
        mean = features.mean(axis=0, dtype=np.float64)
        variances, directions = _principal(features - mean)
        found = int(np.count_nonzero(variances > LEAST_VARIANCE * variances[0])) if variances[0] > 0 else 0
        if not found:
            raise ModelError("The public features are the same for every image; a basis needs images that differ")
        kept = min(found, dimensions)
        return cls(mean.astype(np.float32), _signed(directions[:, :kept]).astype(np.float32), variances[:kept])

    def first(self, dimensions: int) -> PublicBasis:
        """Returns the basis of the first directions; 0: all of them.

        Raises:
            ModelError: It has not so many.
        """
        if not 0 <= dimensions <= len(self.eigenvalues):
            raise ModelError(
                f"model.dimensions={dimensions}, and the public basis has {len(self.eigenvalues)}; choose at most that"
            )
        kept = dimensions or len(self.eigenvalues)
        return PublicBasis(self.mean, self.directions[:, :kept], self.eigenvalues[:kept])

    def project(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the coordinates (N, d) of features (N, D), float32."""
        return ((features - self.mean) @ self.directions).astype(np.float32)


def _principal(centred: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns all variances, descending, and their unit directions as columns, of centred rows (N, D)."""
    rows, columns = centred.shape
    if rows >= columns:
        rising, directions = np.linalg.eigh(centred.T @ centred / rows)
        return rising[::-1].clip(min=0), directions[:, ::-1]
    rising, left = np.linalg.eigh(centred @ centred.T / rows)
    lengths = np.sqrt(rising[::-1].clip(min=0) * rows)
    return rising[::-1].clip(min=0), centred.T @ left[:, ::-1] / np.where(lengths > 0, lengths, 1)


def _signed(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.take_along_axis(directions, np.abs(directions).argmax(0)[None], 0)
    return directions * np.where(largest < 0, -1.0, 1.0)
