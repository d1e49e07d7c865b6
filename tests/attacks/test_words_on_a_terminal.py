"""A hub names runs and studies: its words write no line of their own into what people of a hospital read.

On the code before, a run named with signs that move the cursor and a line end showed `oncofed-site egress` a line that
the hub had written, over the true one; and a run named `restore` was taken for what a restore had charged.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.site import egress
from client.site.egress_log import read_egress, sentence
from common.cli.guard import say
from common.cli.terminal import LineFormatter, printable
from common.config.study import StudyConfig, from_dict
from common.errors import ConfigError
from common.protocol.messages import Refusal, Request, SiteCode, pack_answer, pack_request, unpack_request

FORGED = "ab\x1b[1A\x1b[2K\n2026-11-28T09:00:00+00:00 refused (paused): 4 fields, 80 bytes"
NAMES = [FORGED, "restore", "AB", "a b", "../up", "a" * 65, ""]


@pytest.mark.parametrize("run", NAMES)
def test_a_run_is_named_in_hex_and_by_nothing_else(run: str) -> None:
    with pytest.raises(ConfigError, match="hex digits"):
        Request(purpose="enrol", study=StudyConfig(), run=run)
    content = pack_request(Request(purpose="enrol", study=StudyConfig(), run="ab"))
    content["oncofed"]["run"] = run
    with pytest.raises(ConfigError, match="hex digits"):
        unpack_request(content)


@pytest.mark.parametrize("name", [FORGED, "x\u202edrawkcab", "a" * 101])
def test_a_study_is_named_in_signs_that_can_be_read(name: str) -> None:
    with pytest.raises(ConfigError, match="printable"):
        from_dict(dataclasses.asdict(StudyConfig()) | {"name": name})


def test_a_line_of_the_journal_is_one_line_whatever_an_older_release_let_in(tmp_path: Path) -> None:
    journal = tmp_path / "egress.jsonl"
    answer = pack_answer(Refusal(site="north", code=SiteCode.UNKNOWN))
    egress.append(journal, purpose="train", run=FORGED, round_index=1, content=answer)
    (row,) = read_egress(journal).messages
    (line,) = sentence(row)
    assert line.isprintable() and line.endswith("bytes")


@given(st.text())
def test_whatever_is_written_is_one_line_that_can_be_read(text: str) -> None:
    assert printable(text).isprintable()
    record = logging.LogRecord("oncofed", logging.WARNING, "", 0, "%s refused", (text,), None)
    assert LineFormatter("%(levelname)s %(message)s").format(record).isprintable()
    assert printable(text) == text or not text.isprintable()


def test_what_a_command_says_holds_no_such_sign(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"Signed: study {FORGED}")
    assert capsys.readouterr().err.rstrip("\n").isprintable()
