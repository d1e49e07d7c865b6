"""What a site sends about its heatmaps: counts and sums by outcome, adding with ``+``; no map and no patient.

One patient is one row: the mean of the measures over the patient's images. A state is not differentially private; a
report lists it under "not covered", and :meth:`ExplanationState.released` drops what rests on too few patients.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Self

from common.errors import DataError
from common.evaluation.intervals import wilson, z_of
from common.evaluation.subgroups import OTHER
from common.explain.attention import MEASURES, Share

SCHEMA_VERSION = 1
OUTCOMES = ("tp", "fp", "tn", "fn")
"""True and false positives and negatives at the study's threshold."""
CLASSES = ("malignant", "benign")
"""What a patient has, where nobody's threshold is to tell on which side of it she lies."""
CELLS = (*OUTCOMES, *CLASSES, OTHER)
MAX_PATIENTS = 10**9
HITS = ("pointing", "centre_pointing")
"""Measures that are hits and misses: their interval is Wilson's, which does not collapse when all hit."""
_ROUNDING = 1e-6
_PARTS = ("value", "value_squared", "chance", "gain_squared")


@dataclasses.dataclass(frozen=True, slots=True)
class Moments:
    """Sums of one measure over ``patients``: of the share, its square, its chance, and the squared difference of both.

    Raises:
        DataError: A sum is not possible for so many shares in [0, 1].
    """

    patients: int = 0
    value: float = 0.0
    value_squared: float = 0.0
    chance: float = 0.0
    gain_squared: float = 0.0

    def __post_init__(self) -> None:
        _count(self.patients, "patients")
        limit = self.patients * (1 + _ROUNDING)
        sums = [getattr(self, part) for part in _PARTS]
        # bool is an int in Python; type() keeps true/false out.
        if any(type(each) not in (int, float) or not 0 <= each <= limit for each in sums):
            raise DataError(f"Expected sums between 0 and {self.patients} for {self.patients} patients, got others.")
        # Cauchy-Schwarz, and x squared <= x for shares.
        if (
            self.value**2 > limit * self.value_squared + _ROUNDING
            or self.value_squared > self.value + _ROUNDING * limit
        ):
            raise DataError("Expected sums of shares and of their squares that belong together.")

    @classmethod
    def of(cls, share: Share) -> Self:
        """Returns the sums of one patient."""
        value, chance = float(share.value), float(share.chance)
        return cls(1, value, value**2, chance, (value - chance) ** 2)

    def __add__(self, other: Moments) -> Moments:
        """Returns the sums of both groups of patients."""
        sums = (getattr(self, part) + getattr(other, part) for part in _PARTS)
        return Moments(self.patients + other.patients, *sums)


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """Sums of the patients of one outcome; ``blank`` of them have maps of one value only.

    Raises:
        DataError: More blank or measured patients than patients, or an unknown measure.
    """

    patients: int = 0
    blank: int = 0
    measures: Mapping[str, Moments] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _count(self.patients, "patients")
        _count(self.blank, "blank")
        if not set(self.measures) <= set(MEASURES):
            raise DataError(f"Expected measures among {', '.join(MEASURES)} in an explanation state.")
        if self.blank > self.patients or any(part.patients > self.patients for part in self.measures.values()):
            raise DataError("Expected the blank and the measured patients to be among those of their outcome.")
        ordered = {name: self.measures[name] for name in MEASURES if name in self.measures}
        object.__setattr__(self, "measures", MappingProxyType(ordered))

    def __add__(self, other: Cell) -> Cell:
        """Returns the sums of both groups of patients."""
        names = {*self.measures, *other.measures}
        none = Moments()
        sums = {name: self.measures.get(name, none) + other.measures.get(name, none) for name in names}
        return Cell(self.patients + other.patients, self.blank + other.blank, sums)

    def fits(self, min_cell: int) -> bool:
        """Tells whether nobody, or at least ``min_cell`` patients, stand behind each of its figures."""
        sizes = (self.patients, *(part.patients for part in self.measures.values()))
        return all(size == 0 or size >= min_cell for size in sizes)


@dataclasses.dataclass(frozen=True, slots=True)
class ExplanationState:
    """Sums by outcome, ``other`` for outcomes put together because each had too few patients.

    Raises:
        DataError: An outcome is unknown.
    """

    cells: Mapping[str, Cell] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not set(self.cells) <= set(CELLS):
            raise DataError(f"Expected outcomes among {', '.join(CELLS)} in an explanation state.")
        kept = {name: self.cells[name] for name in CELLS if name in self.cells and self.cells[name].patients}
        object.__setattr__(self, "cells", MappingProxyType(kept))

    @classmethod
    def of(cls, outcome: str, shares: Mapping[str, Share], *, blank: bool = False) -> Self:
        """Returns the state of one patient: its outcome and its measures (:func:`~.attention.mean_shares`).

        Raises:
            DataError: The outcome or a measure is unknown.
        """
        return cls({outcome: Cell(1, int(blank), {name: Moments.of(share) for name, share in shares.items()})})

    @classmethod
    def total(cls, states: Iterable[ExplanationState]) -> ExplanationState:
        """Returns the sum of any number of states, of none the empty one."""
        return sum(states, ExplanationState())

    @property
    def whole(self) -> Cell:
        """The sums of all patients."""
        return sum(self.cells.values(), Cell())

    def __add__(self, other: ExplanationState) -> ExplanationState:
        """Returns the state of both groups of patients."""
        names = {*self.cells, *other.cells}
        return ExplanationState({n: self.cells.get(n, Cell()) + other.cells.get(n, Cell()) for n in names})

    def released(self, min_cell: int) -> ExplanationState:
        """Returns what may leave the site: no figure rests on fewer than ``min_cell`` patients, nor does a difference.

        Outcomes too small are put together as ``other``, which takes in the next smallest until it is large enough;
        as the patients of all cells are the whole, nothing is left to subtract. A measure of too few is left out.
        So few blank maps are told as none, all but so few as all: a hub can choose weights blank for one patient.
        """
        measurable = _without_rare_measures(self, min_cell)
        by_size = sorted(measurable.cells, key=lambda name: (measurable.cells[name].patients, name))
        small = [name for name in by_size if name == OTHER or not measurable.cells[name].fits(min_cell)]
        large = [name for name in by_size if name not in small]
        while small and large and not _joined(measurable, small).fits(min_cell):
            small.append(large.pop(0))
        kept = {name: _without_rare_blanks(measurable.cells[name], min_cell) for name in large}
        rest = _without_rare_blanks(_joined(measurable, small), min_cell)
        return ExplanationState(kept | ({OTHER: rest} if rest.fits(min_cell) else {}))

    def summarise(self, confidence: float = 0.95) -> dict[str, Any]:
        """Returns for ``all`` and each outcome: patients, blank and the measures as means with limits against chance.

        ``gain`` is the mean over patients of share minus chance with limits; ``against_chance`` is ``above`` or
        ``below`` when they exclude 0, else ``unclear``. Limits are Student's t over patients; of hits, Wilson's
        around the mean chance; None for one patient. They do not cover the choice of hospitals nor the training seed.

        Raises:
            ConfigError: The confidence is not between 0 and 1.
        """
        return {name: _summary(cell, confidence) for name, cell in [("all", self.whole), *self.cells.items()]}

    def to_json(self) -> dict[str, Any]:
        """Returns the state as a JSON object: of each measure ``[patients, value, value², chance, gain²]``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "cells": {
                name: {
                    "patients": cell.patients,
                    "blank": cell.blank,
                    "measures": {key: list(dataclasses.astuple(part)) for key, part in cell.measures.items()},
                }
                for name, cell in self.cells.items()
            },
        }

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Returns the state that :meth:`to_json` wrote.

        Raises:
            DataError: The document is not such an object, is of another version, or its sums are not possible.
        """
        fields = _object(document, {"schema_version", "cells"})
        if type(fields["schema_version"]) is not int or fields["schema_version"] != SCHEMA_VERSION:
            raise DataError(f"Expected explanation state version {SCHEMA_VERSION}, got {fields['schema_version']!r}.")
        cells = _object(fields["cells"])
        return cls({name: _cell(cell) for name, cell in cells.items()})


def _without_rare_measures(state: ExplanationState, min_cell: int) -> ExplanationState:
    whole = state.whole.measures
    kept = [name for name in whole if whole[name].patients >= min_cell]
    return ExplanationState(
        {
            name: Cell(cell.patients, cell.blank, {key: cell.measures[key] for key in kept if key in cell.measures})
            for name, cell in state.cells.items()
        }
    )


def _without_rare_blanks(cell: Cell, min_cell: int) -> Cell:
    if cell.blank < min_cell:
        return dataclasses.replace(cell, blank=0)
    return dataclasses.replace(cell, blank=cell.patients) if cell.patients - cell.blank < min_cell else cell


def _joined(state: ExplanationState, names: list[str]) -> Cell:
    return sum((state.cells[name] for name in names), Cell())


def _summary(cell: Cell, confidence: float) -> dict[str, Any]:
    measured = {name: _measure(name, part, confidence) for name, part in cell.measures.items() if part.patients}
    return {"patients": cell.patients, "blank": cell.blank, "measures": measured}


def _measure(name: str, part: Moments, confidence: float) -> dict[str, Any]:
    count = part.patients
    value, chance = part.value / count, part.chance / count
    low, high = _student(part.value, part.value_squared, count, confidence)
    gain_low, gain_high = _student(part.value - part.chance, part.gain_squared, count, confidence)
    limits = wilson(part.value, count, confidence) if name in HITS else None
    if limits is not None:
        low, high, gain_low, gain_high = limits.low, limits.high, limits.low - chance, limits.high - chance
    return {
        "patients": count,
        "value": value,
        "low": None if low is None else max(0.0, low),
        "high": None if high is None else min(1.0, high),
        "chance": chance,
        "gain": value - chance,
        "gain_low": gain_low,
        "gain_high": gain_high,
        "against_chance": _verdict(gain_low, gain_high),
    }


def _student(total: float, squares: float, count: int, confidence: float) -> tuple[float | None, float | None]:
    from scipy.special import stdtrit

    if count < 2:
        return None, None
    z_of(confidence)
    mean = total / count
    variance = max(0.0, squares - count * mean**2) / (count - 1)
    spread = float(stdtrit(count - 1, 0.5 + confidence / 2)) * math.sqrt(variance / count)
    return mean - spread, mean + spread


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None or low <= 0 <= high:
        return "unclear"
    return "above" if low > 0 else "below"


def _cell(document: object) -> Cell:
    fields = _object(document, {"patients", "blank", "measures"})
    parts = _object(fields["measures"])
    for part in parts.values():
        if not isinstance(part, list) or len(part) != 1 + len(_PARTS):
            raise DataError(f"Expected each measure of an explanation state as {1 + len(_PARTS)} numbers.")
    return Cell(fields["patients"], fields["blank"], {name: Moments(*part) for name, part in parts.items()})


def _object(document: object, keys: set[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(document, Mapping) or (keys is not None and set(document) != keys):
        named = f" with {', '.join(sorted(keys))}" if keys else ""
        raise DataError(f"Expected an explanation state as JSON objects{named}, got something else.")
    return document


def _count(number: object, name: str) -> None:
    if type(number) is not int or not 0 <= number <= MAX_PATIENTS:
        raise DataError(f"Expected {name} as a whole number from 0 to {MAX_PATIENTS} in an explanation state.")
