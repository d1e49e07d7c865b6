"""What a site lets leave of models that stay with it: a verdict, figures on a coarse grid, or everything.

Those models are trained without noise, so each exact figure about them tells a little about single patients.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

from common.errors import DataError
from common.evaluation.answers import OWN, PAIRS, OwnModels, OwnName, Pair, number
from common.evaluation.comparison import Difference
from common.evaluation.gate import judged
from common.evaluation.metrics import auroc

GRID = 0.05
"""Step of the public grid that AUROCs and their differences are rounded to."""
Level = Literal["verdict", "rounded"]
Word = Literal["helps", "hurts", "cannot tell"]
Figures = tuple[float, float, float]
JUDGED: tuple[Pair, Pair] = ("federated_minus_local", "personalised_minus_local")
"""What a verdict is given on: the common model by itself, and the best that a hospital has with it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Coarse:
    """What is left of :class:`~common.evaluation.answers.OwnModels`.

    Attributes:
        level: How much is told.
        verdict: Whether the common model helps here: its interval against the local one is above 0; hurts: it is worse
            by more than the margin and the interval is below 0.
        joining: The same of the best model with the common one, against the local one.
        auroc: Of each own model, on the grid; only where rounded.
        differences: Value, low and high of each pair, on the grid, the interval widened; only where rounded.
    """

    level: Level
    verdict: Word
    joining: Word
    auroc: Mapping[OwnName, float | None] = dataclasses.field(default_factory=dict)
    differences: Mapping[Pair, Figures | None] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, models: OwnModels, level: Level, margin: float, confidence: float) -> Self:
        """Returns what a policy of that level lets leave."""
        word, joining = (verdict(models.differences.get(pair), margin, confidence) for pair in JUDGED)
        if level == "verdict":
            return cls(level=level, verdict=word, joining=joining)
        areas = {name: auroc(own.scores) for name, own in models.models.items()}
        return cls(
            level=level,
            verdict=word,
            joining=joining,
            auroc={name: None if area is None else _nearest(area) for name, area in areas.items()},
            differences={pair: None if d is None else _widened(d) for pair, d in models.differences.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the answer as JSON."""
        found: dict[str, Any] = {"level": self.level, "verdict": self.verdict, "joining": self.joining}
        if self.level == "verdict":
            return found
        rows = {pair: d and dict(zip(("value", "low", "high"), d, strict=True)) for pair, d in self.differences.items()}
        return found | {"auroc": dict(self.auroc), "differences": rows}

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Returns the answer that :meth:`to_json` wrote.

        Raises:
            DataError: It has other fields, or a value is not what the field may hold.
        """
        fields: Mapping[str, Any] = document if isinstance(document, Mapping) else {}
        level: Any = fields.get("level")
        word: Any = fields.get("verdict")
        joining: Any = fields.get("joining")
        names = {"level", "verdict", "joining"} | ({"auroc", "differences"} if level == "rounded" else set())
        known = level in get_args(Level) and word in get_args(Word) and joining in get_args(Word)
        if not known or set(fields) != names:
            raise DataError("Expected what a site lets leave of its own models: a level, verdicts, rounded figures.")
        if level == "verdict":
            return cls(level=level, verdict=word, joining=joining)
        areas, rows = (_named(fields[name], known) for name, known in (("auroc", OWN), ("differences", PAIRS)))
        return cls(
            level=level,
            verdict=word,
            joining=joining,
            auroc={name: None if area is None else _on_grid(number(area, 0, 1)) for name, area in areas.items()},
            differences={pair: None if row is None else _figures(row) for pair, row in rows.items()},
        )

    def gate(self, pair: Pair) -> dict[str, Any]:
        """Returns the gate of the site for one of :data:`JUDGED`, as far as it tells."""
        word = self.verdict if pair == JUDGED[0] else self.joining
        harmed = {"hurts": True, "helps": False, "cannot tell": None}[word]
        value, low, high = self.differences.get(pair) or (None, None, None)
        told = {"harm": harmed, "verdict": word, "difference": value, "low": low, "high": high}
        return told | dict.fromkeys(("p", "patients", "patients_needed"))


OwnAnswer = OwnModels | Coarse | None
"""Of a site; None: it keeps all of it."""


def own_release(answers: Mapping[str, OwnAnswer]) -> dict[str, Any]:
    """Returns for each site what it let leave, as ``evaluation.json`` has it: ``level``, and what is coarse."""

    def row(answer: OwnAnswer) -> dict[str, Any]:
        if isinstance(answer, Coarse):
            return answer.to_json()
        return {"level": "none" if answer is None else "full"}

    return {site: row(answer) for site, answer in answers.items()}


def read_own(document: object, bins: int) -> OwnModels | Coarse:
    """Returns a site's answer about its own models, whole or coarse.

    Raises:
        DataError: It is neither.
    """
    coarse = isinstance(document, Mapping) and "level" in document
    return Coarse.from_json(document) if coarse else OwnModels.from_json(document, bins)


def verdict(difference: Difference | None, margin: float, confidence: float) -> Word:
    """Returns the verdict of a federated less a local AUROC, of one site by itself."""
    found = judged({"": difference}, margin=margin, confidence=confidence)[""]["verdict"]
    return found if found in ("helps", "hurts") else "cannot tell"


def _widened(difference: Difference) -> Figures:
    low, high = math.floor(difference.low / GRID) * GRID, math.ceil(difference.high / GRID) * GRID
    return _nearest(difference.value), _nearest(max(-1.0, low)), _nearest(min(1.0, high))


def _nearest(value: float) -> float:
    return round(round(value / GRID) * GRID, 2)


def _on_grid(value: float) -> float:
    if value != _nearest(value):
        raise DataError(f"Expected figures on the grid of {GRID:g} from a site that rounds them.")
    return value


def _figures(row: object) -> Figures:
    if not isinstance(row, Mapping) or set(row) != {"value", "low", "high"}:
        raise DataError("Expected value, low and high of a difference from a site.")
    value, low, high = (_on_grid(number(row[name], -1, 1)) for name in ("value", "low", "high"))
    if not low <= value <= high:
        raise DataError("Expected the value of a difference within its limits.")
    return value, low, high


def _named(value: object, known: tuple[Any, ...]) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping) or not set(value) <= set(known):
        raise DataError(f"Expected figures named {', '.join(known)} from a site.")
    return value
