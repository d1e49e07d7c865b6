"""Exams of a department that never was, before and after something changed.

Of a malignant patient the score before calibration is normal with mean ``apart / 2``, of a benign one with ``-apart /
2``, both with a standard deviation of 1; its log odds of malignancy are ``apart * score + log(p / (1 - p))`` with the
prevalence p of the time before (Bayes), so probabilities are calibrated until something changes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
A_WEEK = 40
"""Exams."""
PREVALENCE, APART, THRESHOLD = 0.3, 2.0, 0.15
MEASURES = ("contrast", "intensity", "sharpness", "speckle")
VERIFIED_MALIGNANT, VERIFIED_BENIGN = 0.9, 0.4
"""Share of each class that a reader, who does not see the score, sends to a biopsy."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Department:
    """How exams come about.

    Attributes:
        prevalence: Share of malignant patients.
        apart: Distance of the classes' mean scores in standard deviations; 2 gives an AUROC of 0.92.
        score_shift: Added to each score.
        looks: Shift of each measure of appearance, in standard deviations.
        new_device: Share of exams on a machine that was not there before.
        threshold: On the calibrated probability.
        label_days: Shortest and longest time to a biopsy's result.
    """

    prevalence: float = PREVALENCE
    apart: float = APART
    score_shift: float = 0.0
    looks: Mapping[str, float] = dataclasses.field(default_factory=dict)
    new_device: float = 0.0
    threshold: float = THRESHOLD
    label_days: tuple[int, int] = (14, 42)


BEFORE = Department()
CHANGES: Mapping[str, Department] = {
    "nothing": BEFORE,
    "scanner": Department(looks={"contrast": -0.8, "sharpness": 0.6}, new_device=0.5, apart=1.4, score_shift=-0.3),
    "contrast": Department(looks={"contrast": -0.6}, score_shift=-0.3),
    "prevalence": Department(prevalence=0.5),
    "threshold": Department(threshold=0.40),
    "label delay": Department(label_days=(120, 180)),
}
"""What changes, by its name."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Exams:
    """Columns of N exams in the order in which they were made.

    Attributes:
        day: When, in days from the first.
        looks: Measure -> (N,).
        device: Name of the machine.
        probability: As the model tells it.
        above: Whether it is above the threshold in use.
        malignant: Whether it is.
        labelled: Day on which its biopsy is known; infinite: never.
    """

    day: Floats
    looks: Mapping[str, Floats]
    device: NDArray[np.str_]
    probability: Floats
    above: NDArray[np.bool_]
    malignant: NDArray[np.bool_]
    labelled: Floats

    def __add__(self, other: Exams) -> Exams:
        """Returns the exams of both, one after the other."""
        parts = {
            field.name: np.concatenate([getattr(self, field.name), getattr(other, field.name)])
            for field in dataclasses.fields(self)
            if field.name != "looks"
        }
        return Exams(
            looks={name: np.concatenate([self.looks[name], other.looks[name]]) for name in self.looks}, **parts
        )


def make_exams(department: Department, count: int, first: float, rng: np.random.Generator) -> Exams:
    """Returns ``count`` exams from day ``first`` on."""
    malignant = rng.random(count) < department.prevalence
    score = rng.normal(size=count) + np.where(malignant, 0.5, -0.5) * department.apart + department.score_shift
    probability = 1 / (1 + np.exp(-(APART * score + math.log(PREVALENCE / (1 - PREVALENCE)))))
    above = probability >= department.threshold
    day = first + np.arange(count) * 7 / A_WEEK
    verified = rng.random(count) < np.where(malignant, VERIFIED_MALIGNANT, VERIFIED_BENIGN)
    known = day + rng.uniform(*department.label_days, size=count)
    return Exams(
        day=day,
        looks={name: rng.normal(size=count) + department.looks.get(name, 0.0) for name in MEASURES},
        device=np.where(rng.random(count) < department.new_device, "new", np.where(rng.random(count) < 0.6, "A", "B")),
        probability=probability, above=above, malignant=malignant, labelled=np.where(verified, known, np.inf),
    )  # fmt: skip
