"""What a reader said: kept for good, hers alone, and the first reading as it was."""

from __future__ import annotations

import dataclasses
import stat
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.reader.journal import ANSWERS, Entry, Journal
from client.reader.stages import AnsweredAlready, Desk, Stage, Target
from client.reader.telling import tell
from client.site.monitor.labels import known_labels
from common.errors import DataError, UsageError

EXAM = Target("A1", "1" * 32, "2" * 64)


def entry(desk: Desk, step: str, answer: str, exam: Target = EXAM) -> Entry:
    found = desk.entry(step, answer, exam)  # type: ignore[arg-type]
    desk.add(found)
    return found


@settings(max_examples=20)
@given(
    st.lists(
        st.builds(
            lambda number, reader, step, at, blind: Entry(
                entry=UUID(int=number).hex, made=datetime.now(UTC), reader=reader, exam="Ä/1", record=f"{at:032x}",
                model="2" * 64, step=step, answer=ANSWERS[step][at % 3], blind=blind and step == "reading",
            ),
            st.integers(0, 9), st.text(min_size=1, max_size=9), st.sampled_from(["reading", "verdict"]),
            st.integers(0, 5), st.booleans(),
        ),
        max_size=6,
    )
)  # fmt: skip
def test_a_journal_holds_what_was_put_into_it_for_its_owner_only(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]
) -> None:
    journal = Journal(tmp_path_factory.mktemp("j") / "new" / "readings.jsonl")
    for one in entries:
        journal.append(one)
    assert list(journal.entries()) == entries
    assert not entries or stat.S_IMODE(journal.path.stat().st_mode) == 0o600


def test_a_torn_line_is_left_out_and_written_over_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    desk, journal = Desk("A", True, ()), Journal(tmp_path / "readings.jsonl")
    first = entry(desk, "reading", "benign")
    journal.append(first)
    journal.path.write_bytes(journal.path.read_bytes() + b'{"schema_version": 1, "ent')
    assert journal.entries() == (first,)
    second = entry(desk, "verdict", "agree")
    journal.append(second)
    assert journal.entries() == (first, second)
    journal.path.write_bytes(journal.path.read_bytes().replace(b'"benign"', b'"agree"'))
    with pytest.raises(DataError, match="line 1"):
        journal.entries()


def test_a_first_reading_stays_a_verdict_may_change_and_another_readers_words_are_hers() -> None:
    desk = Desk("A", True, ())
    assert desk.stage(None) is desk.stage(EXAM.record) is Stage.READ and not desk.sees(EXAM.record)
    with pytest.raises(UsageError, match="own reading first"):
        desk.entry("verdict", "agree", EXAM)
    said = [entry(desk, "reading", "malignant")]
    assert desk.stage(EXAM.record) is Stage.JUDGE and desk.sees(EXAM.record)
    with pytest.raises(AnsweredAlready):
        desk.entry("reading", "benign", EXAM)
    said += [entry(desk, "verdict", "agree"), entry(desk, "verdict", "disagree")]
    for again in (desk, Desk("A", True, said)):
        found = again.said(EXAM.record, "verdict")
        assert found is not None and found.answer == "disagree" and again.stage(EXAM.record) is Stage.DONE
    assert Desk("B", True, said).stage(EXAM.record) is Stage.READ
    later = dataclasses.replace(said[0], answer="benign")
    first = Desk("A", True, [*said, later]).said(EXAM.record, "reading")
    assert first is not None and first.answer == "malignant"


@pytest.mark.parametrize("step", ["reading", "verdict"])
def test_only_an_answer_to_the_question_is_taken(step: str) -> None:
    desk = Desk("A", False, ())
    if step == "verdict":
        entry(desk, "reading", "benign")
    for answer in ("", "yes", "agree" if step == "reading" else "benign"):
        with pytest.raises(UsageError):
            desk.entry(step, answer, EXAM)  # type: ignore[arg-type]


def test_the_monitor_is_told_of_blind_readings_that_say_something_and_of_nothing_else(tmp_path: Path) -> None:
    blind, open_ = Desk("A", True, ()), Desk("A", False, ())
    exams = [Target(f"A{number}", f"{number:032x}", "2" * 64) for number in range(4)]
    told = [
        tell(tmp_path, entry(blind, "reading", "malignant", exams[0])),
        tell(tmp_path, entry(blind, "reading", "benign", exams[1])),
        tell(tmp_path, entry(blind, "reading", "cannot-tell", exams[2])),
        tell(tmp_path, entry(open_, "reading", "malignant", exams[3])),
        tell(tmp_path, entry(blind, "verdict", "agree", exams[0])),
    ]
    assert told == [True, True, False, False, False]
    found = [(label.exam, label.malignant, label.source) for label in known_labels(tmp_path)]
    assert found == [("A0", True, "reader"), ("A1", False, "reader")]
    assert not tell(tmp_path / "no-site", entry(Desk("B", True, ()), "reading", "benign"))
    assert not (tmp_path / "no-site").exists()
