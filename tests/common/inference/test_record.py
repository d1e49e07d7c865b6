"""Records of predictions: what is written is read, a crash loses one unacknowledged line at most, damage is refused."""

from __future__ import annotations

import stat
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DataError
from common.inference.reasons import MEANINGS, Reason
from common.inference.record import InferenceRecord, append, from_line, records, to_line


def a_record(**changes: Any) -> InferenceRecord:
    fields: dict[str, Any] = {
        "record": "0" * 32,
        "exam": "A1",
        "patient": "P1",
        "taken": date(2026, 1, 2),
        "made": datetime(2026, 2, 3, tzinfo=UTC),
        "model": "a" * 64,
        "state": "active",
        "inputs": ("b" * 64,),
        "modality": "US",
        "manufacturer": None,
        "device": None,
        "probability": 0.25,
        "logit": -1.0,
        "set": ("benign",),
        "threshold": 0.5,
        "above_threshold": False,
        "abstained": False,
        "reasons": (),
        "appearance": {"contrast": 0.125},
        "feature_distance": 1.5,
        "versions": {"oncofed": "0.1.0"},
        "seconds": 0.5,
    }
    return InferenceRecord(**(fields | changes))


text = st.text(min_size=1, max_size=40)
readable = st.builds(
    a_record,
    exam=text,
    patient=text,
    taken=st.none() | st.dates(),
    made=st.datetimes(timezones=st.just(UTC)),
    probability=st.floats(0, 1),
    logit=st.floats(allow_nan=False, allow_infinity=False),
    set=st.sampled_from([None, (), ("benign",), ("malignant",), ("benign", "malignant")]),
    manufacturer=st.none() | text,
    appearance=st.dictionaries(text, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)


@given(readable)
def test_a_line_is_read_back_as_the_same_record(record: InferenceRecord) -> None:
    line = to_line(record)
    assert "\n" not in line
    assert from_line(line) == record


def test_an_exam_that_cannot_be_read_has_no_score() -> None:
    nothing = {"probability": None, "logit": None, "set": None, "above_threshold": None}
    unread = a_record(abstained=True, reasons=(Reason.UNREADABLE,), **nothing)
    assert from_line(to_line(unread)) == unread
    with pytest.raises(ValueError, match="could not be read whole"):
        a_record(abstained=True, reasons=(Reason.UNREADABLE,))
    with pytest.raises(ValueError, match="exactly where"):
        a_record(reasons=(Reason.BLANK,))
    with pytest.raises(ValueError, match="together"):
        a_record(probability=None)


def test_every_reason_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Reason)


def test_lines_are_added_in_order_and_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "site" / "records.jsonl"
    assert records(path).records == ()
    for name in ("A1", "A2", "A3"):
        append(path, a_record(exam=name))
    found = records(path)
    assert [record.exam for record in found.records] == ["A1", "A2", "A3"]
    assert not found.torn
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_a_torn_last_line_is_told_and_makes_room(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "records.jsonl"
    append(path, a_record(exam="A1"))
    whole = path.read_bytes()
    append(path, a_record(exam="A2"))
    path.write_bytes(path.read_bytes()[: len(whole) + cut])
    assert records(path).torn
    assert [record.exam for record in records(path).records] == ["A1"]
    append(path, a_record(exam="A3"))
    assert [record.exam for record in records(path).records] == ["A1", "A3"]
    assert not records(path).torn


def test_other_damage_is_refused_with_its_line_and_nothing_of_the_patient(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    for name in ("A1", "A2"):
        append(path, a_record(exam=name, patient="Doe"))
    path.write_bytes(path.read_bytes().replace(b'"logit":-1.0', b'"logit":"-1"', 1))
    with pytest.raises(DataError, match=r"line 1: .*logit") as caught:
        records(path)
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize("change", [{"extra": 1}, {"model": "x"}, {"reasons": ["tired"]}, {"seconds": -1}])
def test_a_line_with_other_fields_is_refused(change: dict[str, Any]) -> None:
    import json

    document = json.loads(to_line(a_record())) | change
    with pytest.raises(DataError):
        from_line(json.dumps(document))
