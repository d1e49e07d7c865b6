"""Every way in which an update can be wrong ends in a refusal that names the site."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from common.aggregation import Update
from common.errors import SiteCode
from common.messages import Refusal, TrainAnswer
from server.updates import checked_update

ARRAYS = {"w": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float32)}
GOOD = TrainAnswer(
    site="a", round_index=4, weight=40, epsilon_spent=1.0, arrays={k: v + np.float32(0.1) for k, v in ARRAYS.items()}
)


def _check(answer: object) -> Update | Refusal:
    return checked_update(answer, site="a", round_index=4, weight=40, arrays=ARRAYS, max_norm=10.0)


def test_the_update_that_was_asked_for_is_taken() -> None:
    assert isinstance(_check(GOOD), Update)


def _arrays(**changed: np.ndarray) -> dict[str, np.ndarray]:
    return {**GOOD.arrays, **changed}


@pytest.mark.parametrize(
    "change",
    [
        {"arrays": {f"_module.{k}": v for k, v in GOOD.arrays.items()}},
        {"arrays": {"w": GOOD.arrays["w"]}},
        {"arrays": _arrays(extra=np.zeros(1, np.float32))},
        {"arrays": _arrays(w=np.zeros((4,), np.float32))},
        {"arrays": _arrays(w=np.full((2, 2), np.nan, np.float32))},
        {"arrays": _arrays(w=np.full((2, 2), np.inf, np.float32))},
        {"arrays": _arrays(w=np.full((2, 2), 100.0, np.float32))},
        {"weight": 4000},
        {"weight": 0},
        {"round_index": 3},
        {"site": "b"},
    ],
)
def test_anything_else_is_refused_by_name(change: dict[str, object]) -> None:
    assert _check(dataclasses.replace(GOOD, **change)) == Refusal(site="a", code=SiteCode.BAD_UPDATE)  # type: ignore[arg-type]


def test_another_kind_of_answer_is_refused() -> None:
    assert isinstance(_check(None), Refusal)
