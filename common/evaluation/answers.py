"""What a site answers about models that stay with it: score counts, thresholds, differences; read back strictly."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

from common.errors import DataError
from common.evaluation.comparison import SAME, Difference
from common.evaluation.decision import HOW, OperatingPoint
from common.evaluation.scores import MAX_PATIENTS, ScoreState

SCHEMA_VERSION = 2
OwnName = Literal["local", "personalised", "public"]
OWN: tuple[OwnName, ...] = ("local", "personalised", "public")
"""Models at one site: the best it makes alone; the best with the federated one too; the public checkpoint that training
starts from. The first two are made without noise and never released."""


Pair = Literal[
    "federated_minus_local", "personalised_minus_federated", "personalised_minus_local", "federated_minus_public"
]
PAIRS: tuple[Pair, ...] = get_args(Pair)


@dataclasses.dataclass(frozen=True, slots=True)
class OwnModel:
    """A site's own model on the site's test patients, with the threshold that its other patients fixed.

    How many those are and how well it parts them is not told (0 and None): training patients are among them, and those
    are not counted exactly for anybody.
    """

    scores: ScoreState
    point: OperatingPoint


@dataclasses.dataclass(frozen=True, slots=True)
class OwnModels:
    """All that a site answers to a ``baseline`` request.

    Attributes:
        differences: AUROCs compared on the same test patients; None where the site has too few of them to tell.
    """

    models: Mapping[OwnName, OwnModel]
    differences: Mapping[Pair, Difference | None] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the answer as JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "models": {
                name: {"scores": own.scores.to_json(), "threshold": own.point.to_json()}
                for name, own in self.models.items()
            },
            "differences": {
                pair: None if difference is None else dataclasses.asdict(difference)
                for pair, difference in self.differences.items()
            },
        }

    @classmethod
    def from_json(cls, document: object, bins: int) -> Self:
        """Returns the answer that :meth:`to_json` wrote.

        Raises:
            DataError: It is of another version, has other fields, or a value is not what the field may hold.
        """
        fields = _object(document, {"schema_version", "models", "differences"})
        if fields["schema_version"] != SCHEMA_VERSION:
            raise DataError(f"Expected site models version {SCHEMA_VERSION}, got {fields['schema_version']!r}.")
        models = fields["models"]
        if not isinstance(models, Mapping) or not models or not set(models) <= set(OWN):
            raise DataError(f"Expected models named {', '.join(OWN)} from a site.")
        differences = fields["differences"]
        if not isinstance(differences, Mapping) or not set(differences) <= set(PAIRS):
            raise DataError(f"Expected differences named {', '.join(PAIRS)} from a site.")
        return cls(
            {name: _own(models[name], bins) for name in OWN if name in models},
            {pair: _difference(differences[pair]) for pair in PAIRS if pair in differences},
        )


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


def _difference(document: object) -> Difference | None:
    if document is None:
        return None
    fields = _object(document, {field.name for field in dataclasses.fields(Difference)})
    value = number(fields["value"], -1, 1)
    limits, patients = fields["bootstrap"], fields["patients"]
    if (
        fields["method"] not in ("DeLong", "MOVER", SAME)
        or type(patients) is not int
        or not 0 < patients <= 2 * MAX_PATIENTS
    ):
        raise DataError("Expected a difference with its method and how many patients were compared.")
    if limits is not None and (not isinstance(limits, list | tuple) or len(limits) != 2):
        raise DataError("Expected two bootstrap limits of a difference, or null.")
    return Difference(
        value=value,
        variance=number(fields["variance"], 0, 4),
        low=number(fields["low"], -1, value),
        high=number(fields["high"], value, 1),
        method=fields["method"],
        bootstrap=None if limits is None else (number(limits[0], -1, 1), number(limits[1], -1, 1)),
        patients=patients,
    )


def _object(document: object, names: set[str]) -> Mapping[str, Any]:
    if not isinstance(document, Mapping) or set(document) != names:
        raise DataError(f"Expected exactly {', '.join(sorted(names))} in a site's answer.")
    return document
