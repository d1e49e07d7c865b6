"""A look at a department without the command line: what it says, what it moves, and that the page says the same."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from client.site.lifecycle.registry import SiteRegistry
from client.site.monitor.labels import add_labels
from client.site.monitor.look import affected, monitor
from client.site.monitor.references import current, history, propose_reference
from common.errors import ConfigError, DataError, TrustError
from common.monitoring.labels import Label
from common.reporting.monitor_page import render
from common.trust.registry import Move
from simulations.analysis.drift.exams import BEFORE
from tests.client.simulated import a_department, keep, simulated_records

MODEL, DAY = "a" * 64, timedelta(days=1)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def words(page: str) -> str:
    reader = _Text()
    reader.feed(page)
    return " ".join(reader.words)


def test_a_steady_department_has_no_alarm_and_every_test_says_what_it_can_see(tmp_path: Path) -> None:
    found = monitor(tmp_path, a_department(tmp_path, MODEL, scanner=False))
    assert (found["alarms"], found["state"], found["moved"]) == (0, "active", None)
    claims = [claim for stream in found["streams"] for claim in stream["claims"]]
    assert len(claims) == 4 + 3 + 3 + 4 + 3  # appearance, tags, charts, bets, silence
    assert all(claim["false_alarms"] and claim["smallest"] for claim in claims)
    assert found["labels_of_unknown_exams"] == 0 and found["reference"]["exams"] == 240


def test_a_new_scanner_alarms_and_the_page_says_what_the_document_says(tmp_path: Path) -> None:
    look = a_department(tmp_path, MODEL, scanner=True)
    found = monitor(tmp_path, look, move=False)
    assert found["state"] == "active" and found["moved"] is None and found["alarms"] >= 2
    found = monitor(tmp_path, look)
    assert found["state"] == "watch" and found["moves"][-1]["by"] == ["monitor"]
    page = render(found)
    text = words(page)
    for stream in found["streams"]:
        for alarm in stream["alarms"]:
            for part in ("found", "false_alarms", "smallest", "at"):
                assert " ".join(alarm[part].split()) in text
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert json.loads(json.dumps(found)) == found


def test_what_a_file_says_is_text_on_the_page(tmp_path: Path) -> None:
    found = monitor(tmp_path, a_department(tmp_path, MODEL, scanner=True))
    found["moves"][-1]["note"] = "<script>alert(1)</script>"
    assert "<script" not in render(found) and "alert(1)" in words(render(found))


def test_a_new_reference_begins_the_streams_anew_and_keeps_the_old_one(tmp_path: Path) -> None:
    from client.site.lifecycle.agreements import sign
    from client.site.monitor.references import freeze

    look = a_department(tmp_path, MODEL, scanner=True)
    old = current(tmp_path)
    assert old is not None
    first, last = old.last + timedelta(days=1), (look - timedelta(days=1)).date()
    name, body = propose_reference(tmp_path, MODEL, first, last)
    assert body["replaces"] == old.digest
    with pytest.raises(TrustError, match="2 people"):
        freeze(tmp_path, name)
    for person in ("anna", "ben"):
        sign(tmp_path, name, person, tmp_path / f"{person}.key")
    freeze(tmp_path, name)
    found = monitor(tmp_path, look)
    assert not [alarm for stream in found["streams"][:2] for alarm in stream["alarms"]]
    assert len(history(tmp_path)) == 2
    assert (tmp_path / "monitor" / "references" / f"{old.digest}.json").exists()
    with pytest.raises(DataError, match="20 patients"):
        propose_reference(tmp_path, MODEL, last, last)


def missed(home: Path, start: datetime, seed: int) -> None:
    """Forty exams below the threshold, all of them malignant by the biopsy of the same day."""
    found, _ = simulated_records(BEFORE, 40, start, MODEL, seed, probability=0.1, logit=-2.0, above_threshold=False)
    keep(home / "records.jsonl", found)
    told = [Label(exam=one.exam, malignant=True, source="biopsy", day=one.made.date(), seen=one.made.date())
            for one in found]  # fmt: skip
    add_labels(home, told, set())


def outcome_moves(home: Path, look: datetime) -> bool:
    step = monitor(home, look)["moved"]
    return step is not None and "miss rate" in step["note"]


def test_after_an_appeal_the_misses_that_were_looked_at_move_nothing_and_new_ones_do(tmp_path: Path) -> None:
    look = a_department(tmp_path, MODEL, scanner=False)
    missed(tmp_path, look, 5)
    look += timedelta(days=8)
    assert outcome_moves(tmp_path, look) and not outcome_moves(tmp_path, look)
    back = Move(package=MODEL, to="active", cause="appeal", by=("anna", "ben"), time=(look + DAY).isoformat(),
                agreement="signed")  # fmt: skip
    with SiteRegistry(tmp_path).moving() as move:
        move(back)
    assert not outcome_moves(tmp_path, look + DAY)
    missed(tmp_path, look + DAY, 6)
    assert outcome_moves(tmp_path, look + timedelta(days=9))


def test_a_second_silence_is_another_alarm_and_a_long_one_is_the_same(tmp_path: Path) -> None:
    look = a_department(tmp_path, MODEL, scanner=False)
    assert [monitor(tmp_path, look + timedelta(days=days))["state"] for days in (40, 41, 60)] == ["watch"] * 3
    records, _ = simulated_records(BEFORE, 40, look + timedelta(days=61), MODEL, 7)
    keep(tmp_path / "records.jsonl", records)
    assert monitor(tmp_path, look + timedelta(days=110))["state"] == "suspended"


def spoiled(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_a_reference_that_was_changed_or_a_model_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    look = a_department(tmp_path, MODEL, scanner=False)
    reference = current(tmp_path)
    assert reference is not None
    spoiled(tmp_path / "monitor" / "references" / f"{reference.digest}.json", {"exams": 30})
    with pytest.raises(TrustError, match="signed"):
        monitor(tmp_path, look)
    with pytest.raises(ConfigError, match="0 releases"):
        affected(tmp_path, "ff")
    with pytest.raises(ConfigError, match="No model is in use"):
        monitor(tmp_path / "elsewhere", look)
