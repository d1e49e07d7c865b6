"""What the journal says left is what left, to the last byte, and it is on disk before anything leaves."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from client.site import egress
from common.errors import SiteCode
from common.protocol.messages import DocumentAnswer, Refusal, TrainAnswer, pack_answer

WEIGHTS = {"head.weight": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), "head.bias": np.float32([0.25])}
UPDATE = pack_answer(TrainAnswer(site="site_1", round_index=2, weight=100, epsilon_spent=1.25, arrays=WEIGHTS))


def _append(path: Path, content: RecordDict = UPDATE, round_index: int = 2) -> None:
    egress.append(path, purpose="train", run="ab12", round_index=round_index, content=content)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestDescribe:
    @pytest.mark.parametrize(
        "content",
        [
            UPDATE,
            pack_answer(Refusal(site="site_1", code=SiteCode.BUDGET_REFUSED)),
            pack_answer(DocumentAnswer(site="site_1", document={"positives": [1, 2], "negatives": [3]})),
        ],
    )
    def test_every_field_of_every_record_has_one_entry(self, content: RecordDict) -> None:
        fields = [f"{key}.{name}" for key, record in content.items() for name in record]
        assert sorted(entry["field"] for entry in egress.describe(content)) == sorted(fields)
        assert len(fields) == len(set(fields)) > 0

    def test_an_array_is_told_by_the_hash_of_its_own_bytes(self) -> None:
        content = RecordDict({"arrays": ArrayRecord({"w": Array(WEIGHTS["head.weight"])})})
        sent = content["arrays"]["w"]
        assert egress.describe(content) == [
            {"field": "arrays.w", "kind": "float32", "shape": [2, 3], "bytes": len(sent.data),
             "sha256": hashlib.sha256(sent.data).hexdigest()}
        ]  # fmt: skip

    def test_a_changed_value_has_another_hash(self) -> None:
        first, second = (
            egress.describe(RecordDict({"c": ConfigRecord({"text": text, "count": 3})})) for text in ("a", "b")
        )
        assert first[0]["sha256"] != second[0]["sha256"] and first[1] == second[1]
        assert [entry["kind"] for entry in first] == ["str", "int"]

    def test_a_record_without_a_rule_does_not_leave(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match="MetricRecord"):
            _append(tmp_path / "egress.jsonl", RecordDict({"m": MetricRecord({"loss": 0.1})}))
        assert not (tmp_path / "egress.jsonl").exists()


class TestAppend:
    def test_a_line_says_what_for_and_when(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "egress.jsonl"
        _append(path)
        (line,) = _lines(path)
        assert (line["purpose"], line["run"], line["round"]) == ("train", "ab12", 2)
        assert datetime.fromisoformat(line["time"]).utcoffset() is not None
        assert line["fields"] == egress.describe(UPDATE)

    def test_lines_add_up_and_earlier_bytes_stay(self, tmp_path: Path) -> None:
        path, before = tmp_path / "egress.jsonl", b""
        for index in range(1, 4):
            _append(path, round_index=index)
            assert path.read_bytes().startswith(before)
            before = path.read_bytes()
        assert [line["round"] for line in _lines(path)] == [1, 2, 3]

    def test_no_value_is_in_the_journal(self, tmp_path: Path) -> None:
        path = tmp_path / "egress.jsonl"
        _append(path, pack_answer(DocumentAnswer(site="site_1", document={"secret": "patient-4711"})))
        _append(path)
        held = path.read_bytes()
        assert b"4711" not in held and b"0.25" not in held and WEIGHTS["head.weight"].tobytes() not in held

    def test_others_cannot_read_it(self, tmp_path: Path) -> None:
        _append(tmp_path / "egress.jsonl")
        assert stat.S_IMODE((tmp_path / "egress.jsonl").stat().st_mode) == 0o600

    def test_it_is_on_disk_before_it_returns(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        synced: list[int] = []
        real = os.fsync
        monkeypatch.setattr(
            "os.fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_ino), real(descriptor))
        )
        _append(tmp_path / "egress.jsonl")
        assert synced == [(tmp_path / "egress.jsonl").stat().st_ino, tmp_path.stat().st_ino]


class TestFailure:
    def test_a_disk_that_fills_up_half_way_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """write(2) then says how much it wrote, and nothing else."""
        path, real = tmp_path / "egress.jsonl", os.write
        with monkeypatch.context() as patch:
            patch.setattr("os.write", lambda descriptor, line: real(descriptor, line[:20]))
            with pytest.raises(OSError, match="No space left") as failed:
                _append(path)
        assert failed.value.errno == errno.ENOSPC

    @pytest.mark.parametrize("torn", [b'{"time": "2026', b"\n", b'{"round": 1}\n'])
    def test_a_line_after_a_torn_one_is_whole(self, tmp_path: Path, torn: bytes) -> None:
        path = tmp_path / "egress.jsonl"
        path.write_bytes(torn)
        _append(path)
        assert path.read_bytes().startswith(torn)
        assert json.loads(path.read_bytes().split(b"\n")[-2])["run"] == "ab12"

    @pytest.mark.parametrize("call", ["os.write", "os.fsync"])
    def test_a_failing_disk_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
        def fails(*_: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(call, fails)
        with pytest.raises(OSError, match="Input/output error"):
            _append(tmp_path / "egress.jsonl")
