"""What the journal holds is what people are shown, and a torn line hides no other."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from client.cli.main import app
from client.site import egress
from client.site.egress_log import parse_since, read_egress, sentence
from client.site.site_file import SiteHome
from common.errors import DataError, SiteCode, UsageError
from common.protocol.messages import DocumentAnswer, Refusal, pack_answer

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ANSWER = pack_answer(DocumentAnswer(site="north", document={"n": 1}))
NO = pack_answer(Refusal(site="north", code=SiteCode.BUDGET_REFUSED))


def write(path: Path) -> None:
    egress.append(path, purpose="evaluate", run="ab", round_index=1, content=ANSWER)
    egress.append(path, purpose="train", run="ab", round_index=2, content=NO, refusal=SiteCode.BUDGET_REFUSED)


def test_every_message_is_shown_with_its_size_and_its_refusal(tmp_path: Path) -> None:
    write(tmp_path / "egress.jsonl")
    found = read_egress(tmp_path / "egress.jsonl")
    assert [row["fields"] for row in found.messages] == [egress.describe(ANSWER), egress.describe(NO)]
    assert found.refusals == {"budget-refused": 1} and found.last is not None and found.last["round"] == 2
    assert found.to_json()["bytes"] == sum(entry["bytes"] for row in found.messages for entry in row["fields"])
    told = "\n".join(line for row in found.messages for line in sentence(row, fields=True))
    assert all(entry["sha256"] in told for row in found.messages for entry in row["fields"])
    assert "refused (budget-refused)" in sentence(found.messages[1])[0]


@pytest.mark.parametrize("torn", ['{"time": "2026-', "[]", "3", '{"time": "now", "fields": []}', "\x00\xff"])
def test_a_torn_line_is_counted_and_hides_no_other(torn: str, tmp_path: Path) -> None:
    path = tmp_path / "egress.jsonl"
    write(path)
    path.write_text(torn + "\n" + path.read_text())
    found = read_egress(path)
    assert (len(found.messages), found.torn) == (2, 1)


def test_a_journal_of_an_older_release_is_read(tmp_path: Path) -> None:
    line = {"time": NOW.isoformat(), "purpose": "train", "run": "a", "round": 1, "fields": []}
    (tmp_path / "egress.jsonl").write_text(json.dumps(line) + "\n")
    assert read_egress(tmp_path / "egress.jsonl").messages[0]["refusal"] is None


def test_a_site_that_sent_nothing_has_an_empty_journal(tmp_path: Path) -> None:
    found = read_egress(tmp_path / "egress.jsonl")
    assert (found.messages, found.torn, found.last) == ((), 0, None)


def test_a_journal_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_egress(tmp_path)


@given(st.integers(0, 9999), st.sampled_from("mhd"))
def test_ago_is_subtracted(number: int, unit: str) -> None:
    seconds = {"m": 60, "h": 3600, "d": 86400}[unit]
    assert parse_since(f"{number}{unit}", NOW) == NOW - timedelta(seconds=number * seconds)


def test_a_time_with_a_zone_is_itself() -> None:
    assert parse_since("2026-11-23T13:00+01:00") == NOW


@pytest.mark.parametrize("text", ["", "yesterday", "7", "-3d", "7w"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected 7d"):
        parse_since(text)


def test_the_command_shows_what_left_since(joined: SiteHome) -> None:
    old = {"time": "2020-01-01T00:00:00+00:00", "purpose": "train", "run": "a", "round": 1, "fields": []}
    joined.egress.write_text(json.dumps(old) + "\n")
    write(joined.egress)
    home = ["--home", str(joined.path)]
    everything = json.loads(CliRunner().invoke(app, ["egress", "--json", *home]).stdout)["data"]
    newer = json.loads(CliRunner().invoke(app, ["egress", "--json", "--since", "1d", *home]).stdout)["data"]
    assert (len(everything["messages"]), len(newer["messages"])) == (3, 2)
    told = CliRunner().invoke(app, ["egress", "--fields", *home]).stderr
    assert "3 messages left" in told and "SHA-256" in told
    assert CliRunner().invoke(app, ["egress", "--since", "x", *home]).exit_code == 2
