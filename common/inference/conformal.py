"""Prediction sets with a stated error level for each class, from a site's own calibration patients.

Split conformal prediction by class (Mondrian; Vovk, Gammerman and Shafer 2005, section 4.5): of patients of a class, at
most the error level is left out of the set on average, whatever the model, as long as new patients are like those of
the calibration. With n patients of a class the finest level is 1 / (n + 1).
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Literal

LEVEL = 0.1
Class = Literal["benign", "malignant"]
CLASSES: tuple[Class, Class] = ("benign", "malignant")


def fewest(level: float) -> int:
    """Returns how many calibration patients of a class an error level needs.

    >>> fewest(0.1), fewest(0.05)
    (9, 19)
    """
    return math.ceil(round(1 / level - 1, 9))


@dataclasses.dataclass(frozen=True, slots=True)
class ConformalSets:
    """Calibration scores by class: log odds, ascending.

    Attributes:
        benign: Of benign patients.
        malignant: Of malignant ones.
        level: Largest share of a class that may be left out.
    """

    benign: tuple[float, ...]
    malignant: tuple[float, ...]
    level: float = LEVEL

    @classmethod
    def of(cls, scores: Sequence[float], labels: Sequence[int], level: float = LEVEL) -> ConformalSets:
        """Returns the sets of patients with these log odds and labels (1 malignant)."""
        pairs = list(zip(scores, labels, strict=True))
        benign, malignant = (tuple(sorted(s for s, y in pairs if y == label)) for label in (0, 1))
        return cls(benign, malignant, level)

    @property
    def can_tell(self) -> bool:
        """Whether both classes have the patients that the level needs."""
        return min(len(self.benign), len(self.malignant)) >= fewest(self.level)

    def p_values(self, score: float) -> dict[Class, float]:
        """Returns for each class the share of its patients, the new one counted, that conform no better."""
        # A benign patient conforms the less, the higher she scores; a malignant one the less, the lower.
        higher = len(self.benign) - bisect_left(self.benign, score)
        lower = bisect_right(self.malignant, score)
        return {
            "benign": (1 + higher) / (len(self.benign) + 1),
            "malignant": (1 + lower) / (len(self.malignant) + 1),
        }

    def set_of(self, score: float) -> tuple[Class, ...] | None:
        """Returns the classes that cannot be ruled out at the level; None: there are too few patients to tell."""
        if not self.can_tell:
            return None
        values = self.p_values(score)
        return tuple(name for name in CLASSES if values[name] > self.level)
