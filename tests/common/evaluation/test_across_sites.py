"""What sites found together: means, the gate's lists, worst and best."""

from __future__ import annotations

from typing import Any

import pytest

from common.evaluation.across_sites import comparisons, do_no_harm, spread
from common.evaluation.answers import OwnModels
from common.evaluation.comparison import Difference
from tests.common.evaluation.test_comparison import difference


def answer(found: Difference | None) -> OwnModels:
    return OwnModels({}, {"federated_minus_local": found})


ANSWERS = {
    "a": answer(difference(-0.2, -0.3, -0.1)),
    "b": answer(difference(-0.1, -0.3, 0.1)),
    "c": answer(difference(0.0, -0.01, 0.01)),
    "d": answer(None),
}


def test_sites_and_their_mean_stand_side_by_side() -> None:
    found = comparisons(ANSWERS, margin=0.05, confidence=0.95)
    assert set(found) == {"federated_minus_local"}, "what no site compared is left out"
    block = found["federated_minus_local"]
    assert block["sites"]["d"] is None and block["pooled"]["patients"] == 300
    assert block["pooled"]["value"] == pytest.approx(-0.1) and not block["pooled"]["non_inferior"]
    nothing = comparisons({"d": ANSWERS["d"]}, margin=0.05, confidence=0.95)["federated_minus_local"]
    assert nothing == {"sites": {"d": None}, "pooled": None}


def test_the_gate_names_who_is_shown_to_gain_or_to_lose_and_nobody_else() -> None:
    gate = do_no_harm(ANSWERS | {"e": answer(difference(0.2, 0.1, 0.3))}, margin=0.05)
    assert (gate["hurts"], gate["helps"]) == (["a"], ["e"])
    assert {site: row["harm"] for site, row in gate["sites"].items()} == {
        "a": True, "b": None, "c": False, "d": None, "e": False
    }  # fmt: skip
    assert list(gate["sites"]) == ["a", "b", "c", "d", "e"]


def block(**areas: float | None) -> dict[str, Any]:
    return {"sites": {site: {"auroc": {"value": area}} for site, area in areas.items()}}


def test_worst_site_and_spread() -> None:
    found = spread(block(a=0.7, b=None, c=0.9))
    assert found["worst"] == {"site": "a", "auroc": 0.7} and found["best"]["site"] == "c"
    assert found["range"] == pytest.approx(0.2) and found["standard_deviation"] == pytest.approx(0.2 / 2**0.5)
    assert spread(block(a=0.7))["standard_deviation"] is None
    assert spread(block(a=None)) == {"worst": None, "best": None, "range": None, "standard_deviation": None}
