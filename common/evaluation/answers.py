"""What a site answers about models that stay with it: score counts, thresholds, differences; read back strictly."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from common.errors import DataError
from common.evaluation.decision import HOW, OperatingPoint
from common.evaluation.scores import MAX_PATIENTS, ScoreState

SCHEMA_VERSION = 1
OwnName = Literal["local", "personalised"]
OWN: tuple[OwnName, ...] = ("local", "personalised")
"""Models of one site: trained alone; the federated one fine-tuned without noise. Neither is ever released."""


@dataclasses.dataclass(frozen=True, slots=True)
class OwnModel:
    """A site's own model on the site's test patients, with the threshold that its validation patients fixed."""

    scores: ScoreState
    point: OperatingPoint


@dataclasses.dataclass(frozen=True, slots=True)
class OwnModels:
    """All that a site answers to a ``baseline`` request."""

    models: Mapping[OwnName, OwnModel]

    def to_json(self) -> dict[str, Any]:
        """Returns the answer as JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "models": {
                name: {"scores": own.scores.to_json(), "threshold": own.point.to_json()}
                for name, own in self.models.items()
            },
        }

    @classmethod
    def from_json(cls, document: object, bins: int) -> Self:
        """Returns the answer that :meth:`to_json` wrote.

        Raises:
            DataError: It is of another version, has other fields, or a value is not what the field may hold.
        """
        fields = _object(document, {"schema_version", "models"})
        if fields["schema_version"] != SCHEMA_VERSION:
            raise DataError(f"Expected site models version {SCHEMA_VERSION}, got {fields['schema_version']!r}.")
        models = fields["models"]
        if not isinstance(models, Mapping) or not models or not set(models) <= set(OWN):
            raise DataError(f"Expected models named {', '.join(OWN)} from a site.")
        return cls({name: _own(models[name], bins) for name in OWN if name in models})


def read_point(document: object) -> OperatingPoint:
    """Returns the operating point that :meth:`OperatingPoint.to_json` wrote.

    Raises:
        DataError: A field is missing or out of its range.
    """
    fields = _object(document, {field.name for field in dataclasses.fields(OperatingPoint)})
    how, youden, patients = fields["how"], fields["youden"], fields["patients"]
    if how not in HOW or type(patients) is not int or not 0 <= patients <= MAX_PATIENTS:
        raise DataError("Expected a threshold with how it was fixed and on how many patients.")
    point = None if youden is None else number(youden, 0, 1)
    return OperatingPoint(number(fields["threshold"], 0, 1), how, point, patients)


def number(value: object, low: float, high: float) -> float:
    """Returns a finite number of JSON within limits.

    Raises:
        DataError: It is no number, is not finite, or is outside.
    """
    if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type,operator]
        raise DataError(f"Expected a number between {low} and {high} in a site's answer.")
    return float(value)  # type: ignore[arg-type]


def _own(document: object, bins: int) -> OwnModel:
    fields = _object(document, {"scores", "threshold"})
    return OwnModel(ScoreState.from_json(fields["scores"], bins), read_point(fields["threshold"]))


def _object(document: object, names: set[str]) -> Mapping[str, Any]:
    if not isinstance(document, Mapping) or set(document) != names:
        raise DataError(f"Expected exactly {', '.join(sorted(names))} in a site's answer.")
    return document
