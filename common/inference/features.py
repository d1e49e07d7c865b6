"""How far an exam's features lie from those of a site's own patients: the distance to the k-th nearest.

Sun, Ming, Zhu and Li, Out-of-distribution detection with deep nearest neighbors, ICML 2022, section 3: features are
scaled to length 1. The limit is conformal (Laxhammar and Falkman 2010): of patients like those of the reference, at
most the share :data:`BEYOND` lies beyond it on average; of fewer than 99, about one in as many as there are.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError

Floats = NDArray[np.float32]
NEIGHBOURS = 5
FEWEST = 20
"""Patients below which there is no reference."""
BEYOND = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureReference:
    """Features of a site's patients, float32 (P, D), rows of length 1, and the ``limit`` of the distance."""

    rows: Floats
    limit: float

    @classmethod
    def of(cls, features: Floats) -> FeatureReference:
        """Returns the reference of features (P, D), one row a patient.

        Raises:
            DataError: Fewer than :data:`FEWEST` patients.
        """
        if len(features) < FEWEST:
            raise DataError(f"A reference of features needs {FEWEST} patients, got {len(features)}")
        rows = to_length_one(features)
        apart = _distances(rows, rows)
        np.fill_diagonal(apart, np.inf)
        own = np.sort(np.sort(apart, axis=1)[:, NEIGHBOURS - 1])
        place = min(len(own), math.ceil((len(own) + 1) * (1 - BEYOND)))
        return cls(rows, float(own[place - 1]))

    def distance(self, features: Floats) -> float:
        """Returns the distance of one patient's features (D,) to the k-th nearest of the reference, in [0, 2]."""
        apart = _distances(to_length_one(features[None]), self.rows)[0]
        return float(np.partition(apart, NEIGHBOURS - 1)[NEIGHBOURS - 1])


def to_length_one(rows: Floats) -> Floats:
    """Returns the rows (P, D) scaled to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def _distances(some: Floats, others: Floats) -> NDArray[np.float64]:
    """Returns the distances (M, N) of rows of length 1."""
    cosine = some.astype(np.float64) @ others.astype(np.float64).T
    return np.sqrt(np.clip(2 - 2 * cosine, 0, None))
