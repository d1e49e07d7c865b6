"""A site's answer about its own models survives the trip; anything else is refused."""

from __future__ import annotations

import copy
import json
import math

import pytest

from common.errors import DataError
from common.evaluation.answers import OwnModel, OwnModels
from common.evaluation.comparison import Difference
from common.evaluation.decision import operating_point
from common.evaluation.scores import ScoreState
from tests.common.evaluation.test_metrics import draw

STATE = ScoreState.of(*draw(0, 40), 64)
DIFFERENCE = Difference(
    value=-0.1, variance=0.01, low=-0.3, high=0.1, method="DeLong", bootstrap=(-0.28, 0.09), patients=40
)
ANSWER = OwnModels(
    {"local": OwnModel(STATE, operating_point("auto", STATE, 64))},
    {"federated_minus_local": DIFFERENCE, "personalised_minus_local": None},
)


def test_an_answer_survives_the_trip() -> None:
    assert OwnModels.from_json(json.loads(json.dumps(ANSWER.to_json())), 64) == ANSWER


def at(path: tuple[str, ...], value: object) -> object:
    """Returns the answer's JSON with one value in place of another; with ``KeyError`` for a value, without it."""
    document = copy.deepcopy(ANSWER.to_json())
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return document


POINT = ("models", "local", "threshold")
PAIR = ("differences", "federated_minus_local")


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        at(("schema_version",), 1),
        at(("schema_version",), KeyError),
        at(("weights",), [1.0]),
        at(("models",), {}),
        at(("models",), []),
        at(("models", "federated"), {}),
        at(("models", "local", "patients"), ["Mrs Smith"]),
        at(("models", "local", "scores"), {}),
        at(POINT, 0.5),
        at((*POINT, "threshold"), math.nan),
        at((*POINT, "threshold"), 1.5),
        at((*POINT, "threshold"), "0.5"),
        at((*POINT, "threshold"), True),
        at((*POINT, "how"), "a guess"),
        at((*POINT, "how"), []),
        at((*POINT, "youden"), math.inf),
        at((*POINT, "patients"), -1),
        at((*POINT, "patients"), 1.5),
        at(("differences",), []),
        at(("differences", "federated_minus_pooled"), None),
        at(PAIR, 0.1),
        at((*PAIR, "scores"), [0.1, 0.2]),
        at((*PAIR, "value"), math.nan),
        at((*PAIR, "value"), -1.1),
        at((*PAIR, "value"), None),
        at((*PAIR, "variance"), -0.1),
        at((*PAIR, "low"), 0.0),
        at((*PAIR, "high"), -0.2),
        at((*PAIR, "method"), "average of sites"),
        at((*PAIR, "bootstrap"), [0.1]),
        at((*PAIR, "bootstrap"), [math.nan, 0.1]),
        at((*PAIR, "patients"), 0),
    ],
)
def test_refuses_another_document(document: object) -> None:
    with pytest.raises(DataError, match="Expected"):
        OwnModels.from_json(document, 64)


def test_refuses_another_grid() -> None:
    with pytest.raises(DataError, match="bins"):
        OwnModels.from_json(ANSWER.to_json(), 4096)
