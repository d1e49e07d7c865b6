"""What travels survives the trip; what does not fit is refused before it is read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from common import messages
from common.config import compose
from common.errors import ConfigError, SiteCode, TrustError
from common.messages import (
    ARRAYS,
    BODY,
    VALUES,
    DocumentAnswer,
    Refusal,
    Request,
    SiteCard,
    TrainAnswer,
    pack_answer,
    pack_request,
    unpack_answer,
    unpack_request,
)

WEIGHTS = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "head.bias": np.zeros(2, np.float32)}
CARD = SiteCard(
    site="a", declared_patients=40, input_shape=(1, 64, 64), counts={"train": {"patients": 40, "malignant": None}},
    frozen_digest="f", code_digest="c", seeded=False, synthetic=True, dataset={"name": "x", "notes": []},
)  # fmt: skip


def _request() -> Request:
    return Request(purpose="train", study=compose([]), run="ab12", round_index=3, arrays=WEIGHTS)


def test_a_request_survives_the_trip() -> None:
    got = unpack_request(pack_request(_request()))
    assert (got.purpose, got.run, got.round_index) == ("train", "ab12", 3)
    assert got.study.digest() == compose([]).digest()
    assert all(np.array_equal(got.arrays[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize(
    "answer",
    [
        CARD,
        DocumentAnswer(site="a", document={"bins": [1, 2, 3]}),
        Refusal(site="a", code=SiteCode.BUDGET_REFUSED),
    ],
)
def test_an_answer_survives_the_trip(answer: object) -> None:
    assert unpack_answer(pack_answer(answer)) == answer  # type: ignore[arg-type]


def test_an_update_survives_the_trip() -> None:
    answer = TrainAnswer(site="a", round_index=2, weight=40, epsilon_spent=1.5, arrays=WEIGHTS)
    got = unpack_answer(pack_answer(answer))
    assert isinstance(got, TrainAnswer)
    assert (got.weight, got.epsilon_spent) == (40, 1.5)
    assert all(np.array_equal(got.arrays[name], WEIGHTS[name]) for name in WEIGHTS)


def test_a_study_that_was_changed_on_the_way_is_not_believed() -> None:
    content = pack_request(_request())
    study = json.loads(str(content[BODY]["study"]))
    study["privacy"]["epsilon"] = 1000.0
    content[BODY]["study"] = json.dumps(study)
    with pytest.raises(TrustError, match="digest"):
        unpack_request(content)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("split", "train"), ("split", ""), ("purpose", "open"), ("purpose", "__init__"), ("round_index", -1),
        ("round_index", 1.5), ("round_index", True), ("run", ""), ("run", "r" * 65), ("run", 7),
    ],
)  # fmt: skip
def test_a_hub_cannot_ask_for_anything_else(field: str, value: object) -> None:
    """Scores of training patients would tell, without noise and uncharged, what privacy is there to hide."""
    content = pack_request(_request())
    content[BODY][field] = value
    with pytest.raises(ConfigError, match="hub"):
        unpack_request(content)


def test_a_message_without_a_body_is_refused() -> None:
    with pytest.raises(ConfigError, match="body"):
        unpack_request(RecordDict())


def test_text_beyond_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_TEXT", 100)
    with pytest.raises(ConfigError, match="longer"):
        unpack_request(pack_request(_request()))


def test_values_beyond_the_bound_are_refused_by_their_declared_shape() -> None:
    array = Array(dtype="float32", shape=(10**12,), stype="numpy.ndarray", data=b"short")
    with pytest.raises(ConfigError, match="values"):
        unpack_answer(_with_values(array, '[["w", [1000000, 1000000]]]'))


def test_bytes_that_do_not_fit_the_shape_are_refused() -> None:
    array = Array(dtype="float32", shape=(1,), stype="numpy.ndarray", data=b"x" * 100_000)
    with pytest.raises(ConfigError, match="shape"):
        unpack_answer(_with_values(array, '[["w", [1]]]'))


@pytest.mark.parametrize("dtype", [np.float64, np.int64, object])
def test_only_float32_travels(dtype: type) -> None:
    array = Array(dtype=np.dtype(dtype).name, shape=(1,), stype="numpy.ndarray", data=b"x")
    with pytest.raises(ConfigError, match="float32"):
        unpack_answer(_with_values(array, '[["w", [1]]]'))


@pytest.mark.parametrize(
    "layout",
    [
        "", "[]", "{}", "7", "null", '[["w", [2]]]', '[["w", [1]], ["v", [1]]]', '[["w", [-1]]]', '[["w", [1.0]]]',
        '[["w", [true]]]', '[["w", 1]]', '[["w"]]', '[[1, [1]]]', '[["w", [1]], ["w", [0]]]', '[[["w"], [1]]]',
    ],
)  # fmt: skip
def test_a_layout_that_does_not_fit_the_values_is_refused(layout: str) -> None:
    with pytest.raises(ConfigError):
        unpack_answer(_with_values(Array(np.zeros(1, np.float32)), layout))


def test_values_in_more_than_one_array_are_refused() -> None:
    content = _with_values(Array(np.zeros(1, np.float32)), '[["w", [1]]]')
    content[ARRAYS]["more"] = Array(np.zeros(1, np.float32))
    with pytest.raises(ConfigError, match="one array"):
        unpack_answer(content)
    del content[ARRAYS]
    with pytest.raises(ConfigError, match="one array"):
        unpack_answer(content)


@given(shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=6), seed=st.integers(0, 9))
def test_tensors_of_any_shape_arrive_as_they_left(shapes: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = {f"t{i}": rng.standard_normal(shape).astype(np.float32) for i, shape in enumerate(shapes)}
    content = pack_answer(TrainAnswer(site="a", round_index=1, weight=1, epsilon_spent=None, arrays=arrays))
    got = unpack_answer(content)
    assert isinstance(got, TrainAnswer) and list(got.arrays) == list(arrays)
    for name, values in arrays.items():
        assert got.arrays[name].shape == values.shape and got.arrays[name].flags.writeable
        np.testing.assert_array_equal(got.arrays[name], values)


def test_an_unknown_code_never_becomes_text() -> None:
    content = RecordDict({BODY: ConfigRecord({"status": "refused", "site": "a", "code": "Mrs Smith, room 4"})})
    assert unpack_answer(content) == Refusal(site="a", code=SiteCode.UNKNOWN)


def _with_values(array: Array, layout: str) -> RecordDict:
    content = pack_answer(TrainAnswer(site="a", round_index=1, weight=1, epsilon_spent=None, arrays={}))
    content[ARRAYS], content[BODY]["layout"] = ArrayRecord({VALUES: array}), layout
    return content
