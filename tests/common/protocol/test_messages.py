"""What travels survives the trip; what does not fit is refused before it is read."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from common.config.study import compose
from common.errors import ConfigError, SiteCode, TrustError
from common.protocol import messages
from common.protocol.messages import (
    ARRAYS,
    BODY,
    VALUES,
    Answer,
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
    site="a", declared_patients=40, input_shape=(1, 64, 64),
    counts={"train": {"patients": 40, "malignant": None, "benign": None}},
    frozen_digest="f", protocol=2, mathematics_digest="m", code_digest="c",
    seeded=False, synthetic=True, dataset={"name": "x", "notes": []},
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


def _npy(values: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values))
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    np.savez(file, np.zeros(2, np.float32))
    return file.getvalue()


TWO = np.zeros(2, np.float32)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04" + b"x" * 60,
        _zip(),
        b"\x93NUMPY\x01\x00\x06\x00{'a':(",
        _npy(TWO).replace(b"(2,)", b"(9,)"),
        _npy(TWO).replace(b"(2,), }" + b" " * 11, b"(100000000000,), }"),
        *(_npy(TWO.astype(kind)) for kind in ("<f2", ">f4", "<f8", "<i4", "<U2")),
        _npy(TWO.reshape(2, 1)),
        _npy(TWO[:1]),
    ],
)
def test_bytes_that_are_no_array_as_declared_are_refused(data: bytes) -> None:
    array = Array(dtype="float32", shape=(2,), stype="numpy.ndarray", data=data)
    with pytest.raises(ConfigError, match=r"cannot be read as an array|other values"):
        unpack_answer(_with_values(array, '[["w", [2]]]'))


@given(data=st.data(), kept=st.integers(0, 200), tail=st.binary(max_size=60))
def test_damaged_bytes_lead_to_the_values_or_to_one_kind_of_error(data: st.DataObject, kept: int, tail: bytes) -> None:
    whole = bytearray(_npy(np.zeros(2, np.float32)))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    array = Array(dtype="float32", shape=(2,), stype="numpy.ndarray", data=bytes(whole[:kept]) + tail)
    try:
        got = unpack_answer(_with_values(array, '[["w", [2]]]'))
    except ConfigError:
        return
    assert isinstance(got, TrainAnswer)
    assert (got.arrays["w"].dtype, got.arrays["w"].shape) == (np.float32, (2,))


def test_a_tensor_has_few_dimensions_and_a_side_is_no_larger_than_a_message() -> None:
    one = Array(np.zeros(1, np.float32))
    assert unpack_answer(_with_values(one, '[["w", [1, 1, 1, 1, 1, 1, 1, 1]]]'))
    for shape in ([1] * 9, [2] * 300_000, [0, 10**9], [0] + [10**8] * 7):
        with pytest.raises(ConfigError):
            unpack_answer(_with_values(one, json.dumps([["w", shape]])))


TOO_DEEP = "[" * 100_000
UNWRITABLE = ["NaN", "Infinity", "-Infinity", "1e999", '"\\ud800"', str(2**65), "9" * 5000, "[" * 40 + "]" * 40]


@pytest.mark.parametrize("text", [TOO_DEEP, '{"a":' * 100_000, *UNWRITABLE])
def test_text_that_could_not_be_written_again_is_refused(text: str) -> None:
    document = pack_answer(DocumentAnswer(site="a", document={}))
    document[BODY]["answer"] = f'{{"site": "a", "document": {{"x": {text}}}}}'
    layout = pack_answer(TrainAnswer(site="a", round_index=1, weight=1, epsilon_spent=None, arrays=WEIGHTS))
    layout[BODY]["layout"] = text
    for content in (document, layout):
        with pytest.raises(ConfigError):
            unpack_answer(content)


def test_a_document_is_what_it_was() -> None:
    document = {"deep": [[[[[1]]]]], "whole": [2**63, -(2**63)], "text": "Żółć 😀", "none": None, "real": 1e-300}
    assert unpack_answer(pack_answer(DocumentAnswer(site="a", document=document))) == DocumentAnswer(
        site="a", document=document
    )


NO_WHOLE = ["5", None, True, 1.0, -1, 2**40, [5], {}]
NO_TEXT = [5, None, True, ["a"], "x" * 100_000]
WRONG_CARDS = {
    "declared_patients": [*NO_WHOLE, 0],
    "input_shape": [None, 5, [], "abc", {"1": 1}, [1] * 4, [0], [-1, 5], [1.0], [True], ["1"], [[1]], [5000, 5000]],
    "counts": [None, [], "x", {"train": None}, {"train": [5]}, {"train": {"a": 1.5}}, {"train": {"a": "5"}}],
    "frozen_digest": NO_TEXT,
    "protocol": [*NO_WHOLE, -1],
    "mathematics_digest": NO_TEXT,
    "code_digest": NO_TEXT,
    "seeded": [None, 0, 1, "false"],
    "synthetic": [None, 0, 1, "false"],
    "dataset": [None, [], "x", {"notes": 5}, {"notes": [5]}, {"name": None}, {"name": {}}],
}  # fmt: skip
WRONG_UPDATES = {
    "round_index": NO_WHOLE,
    "weight": [*NO_WHOLE, 0],
    "epsilon_spent": ["1", True, -0.1, [1.0], {}],
}
UPDATE = TrainAnswer(site="a", round_index=2, weight=40, epsilon_spent=1.5, arrays=WEIGHTS)
WRONG = [
    *((CARD, name, value) for name, values in WRONG_CARDS.items() for value in values),
    *((UPDATE, name, value) for name, values in WRONG_UPDATES.items() for value in values),
    *((DocumentAnswer(site="a", document={}), "document", value) for value in (None, [], "x", 5)),
]


@pytest.mark.parametrize(("answer", "name", "value"), WRONG)
def test_a_field_of_the_wrong_kind_is_refused(answer: Answer, name: str, value: object) -> None:
    content = pack_answer(answer)
    fields = json.loads(str(content[BODY]["answer"]))
    content[BODY]["answer"] = json.dumps(fields | {name: value})
    with pytest.raises(ConfigError):
        unpack_answer(content)


@pytest.mark.parametrize("epsilon", [float("nan"), float("inf"), -1.0])
def test_an_epsilon_is_finite_wherever_it_comes_from(epsilon: float) -> None:
    with pytest.raises(ConfigError, match="epsilon"):
        dataclasses.replace(UPDATE, epsilon_spent=epsilon)


def test_an_unknown_code_never_becomes_text() -> None:
    content = RecordDict({BODY: ConfigRecord({"status": "refused", "site": "a", "code": "Mrs Smith, room 4"})})
    assert unpack_answer(content) == Refusal(site="a", code=SiteCode.UNKNOWN)


def _with_values(array: Array, layout: str) -> RecordDict:
    content = pack_answer(TrainAnswer(site="a", round_index=1, weight=1, epsilon_spent=None, arrays={}))
    content[ARRAYS], content[BODY]["layout"] = ArrayRecord({VALUES: array}), layout
    return content
