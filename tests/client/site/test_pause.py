"""A paused site refuses with a code, over restarts; one that left answers nobody and keeps its proofs."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from typer.testing import CliRunner

from client.app import app
from client.cli.main import app as commands
from client.node.daemon import SiteDaemon
from client.node.join import join
from client.node.state import state
from client.site.pause import Leave, check_answers, leave, pause, pause_facts, resume
from client.site.site_file import HOME_VARIABLE, SiteHome
from common.config.study import StudyConfig
from common.errors import ConfigError, NetworkError, SiteClosed, SiteCode
from common.protocol.messages import Refusal, Request, pack_request, unpack_answer
from common.services.supervisor import only_one
from common.trust.signing import signature_holds
from simulations.engine.grid import InProcessGrid

KINDS = {
    "enrol": "query", "train": "train", "evaluate": "evaluate", "baseline": "query", "attention": "query",
    "statement": "query",
}  # fmt: skip
RUNNER = CliRunner()


def asked(home: SiteHome, purpose: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv(HOME_VARIABLE, str(home.path))
    study = StudyConfig(name="mammae")
    content = pack_request(Request(purpose=purpose, study=study, run="ab"))  # type: ignore[arg-type]
    (reply,) = InProcessGrid(app, num_nodes=1).send_and_receive([Message(content, 1, KINDS[purpose])])
    return unpack_answer(reply.content)


def journal(home: SiteHome) -> list[dict[str, Any]]:
    return [json.loads(line) for line in home.egress.read_text().splitlines()]


@pytest.mark.parametrize("purpose", KINDS)
def test_a_paused_site_refuses_each_request_with_a_code_and_journals_it(
    purpose: str, joined: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause(joined)
    assert asked(joined, purpose, monkeypatch) == Refusal(site="north", code=SiteCode.UNAVAILABLE)
    (line,) = journal(joined)
    assert (line["purpose"], line["run"], line["refusal"]) == (purpose, "ab", "unavailable")


def test_a_resumed_site_answers_for_itself_again(joined: SiteHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no data: it says so instead of being unavailable."""
    pause(joined)
    resume(joined)
    assert asked(joined, "enrol", monkeypatch).code is not SiteCode.UNAVAILABLE
    assert pause_facts(joined) == {"paused_since": None, "left_since": None}


def test_a_refusal_before_the_site_could_open_is_journalled_too(
    joined: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    (joined.path / "policy.yaml").write_text("ceiling: much")
    assert asked(joined, "enrol", monkeypatch) == Refusal(site="", code=SiteCode.BAD_REQUEST)
    assert [line["refusal"] for line in journal(joined)] == ["bad-request"]


def test_pausing_twice_keeps_the_first_time(joined: SiteHome) -> None:
    pause(joined)
    first = joined.paused.read_text()
    joined.paused.write_text(first.replace("20", "19", 1))
    pause(joined)
    assert str(pause_facts(joined)["paused_since"]).startswith("19")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"other": 1}'])
def test_whatever_stands_in_the_file_its_presence_pauses(text: str, joined: SiteHome) -> None:
    joined.paused.write_text(text)
    with pytest.raises(SiteClosed, match="paused"):
        check_answers(joined)
    assert pause_facts(joined)["paused_since"]


class TestDaemon:
    """With children that do nothing."""

    def test_it_stays_connected_while_paused_and_ends_when_the_site_leaves(
        self, daemon: SiteDaemon, joined: SiteHome
    ) -> None:
        pause(joined)
        thread = threading.Thread(target=daemon.run)
        thread.start()
        try:
            while state(joined)["status"] != "paused" or not state(joined)["processes"]["worker"]["pid"]:
                assert thread.is_alive()
            resume(joined)
            while state(joined)["status"] != "running":
                assert thread.is_alive()
        finally:
            leave(joined)
            thread.join(30)
        assert state(joined)["status"] == "stopped"
        with pytest.raises(ConfigError, match="left its consortium"):
            daemon.run()


class TestLeave:
    def test_the_notice_is_signed_and_names_the_key_to_revoke(self, joined: SiteHome) -> None:
        notice = Leave(**json.loads(leave(joined).read_text()))
        assert signature_holds(notice.signing_key, notice.text(), notice.signature)
        forged = dataclasses.replace(notice, site="south")
        assert not signature_holds(forged.signing_key, forged.text(), forged.signature)
        assert notice.signing_key == json.loads((joined.path / "request.json").read_text())["signing_key"]

    def test_nothing_is_deleted_and_nothing_answered(self, joined: SiteHome, monkeypatch: pytest.MonkeyPatch) -> None:
        before = {path for path in joined.path.rglob("*") if path.is_file()}
        leave(joined)
        assert before <= {path for path in joined.path.rglob("*") if path.is_file()}
        assert asked(joined, "train", monkeypatch).code is SiteCode.UNAVAILABLE
        with pytest.raises(ConfigError, match="--new-keys"):
            resume(joined)

    def test_a_daemon_that_does_not_end_is_told_of(self, joined: SiteHome) -> None:
        with only_one(joined.path / "site.lock"), pytest.raises(NetworkError, match="still runs"):
            leave(joined, seconds=0.0)
        assert leave(joined).exists()

    def test_a_new_kit_brings_it_back(self, joined: SiteHome, tmp_path: Path) -> None:
        leave(joined)
        join(joined, tmp_path / "kit.zip", new_keys=True)
        check_answers(joined)


class TestCommands:
    def test_from_pause_to_leave(self, joined: SiteHome) -> None:
        home = ["--home", str(joined.path)]
        assert RUNNER.invoke(commands, ["pause", *home]).exit_code == 0
        assert json.loads(RUNNER.invoke(commands, ["status", "--json", *home]).stdout)["data"]["paused_since"]
        assert RUNNER.invoke(commands, ["resume", *home]).exit_code == 0
        refused = RUNNER.invoke(commands, ["leave", *home], input="n\n")
        assert refused.exit_code != 0 and not joined.left.exists()
        left = RUNNER.invoke(commands, ["leave", "--yes", *home])
        assert left.exit_code == 0 and left.stdout.strip() == str(joined.left)
        for told in ("oncofed-hub revoke north", "ledger.sqlite", "egress.jsonl"):
            assert told in left.stderr
        assert RUNNER.invoke(commands, ["start", *home]).exit_code == ConfigError.exit_code

    def test_a_check_ends_with_7_unless_it_runs(self, joined: SiteHome) -> None:
        check = ["status", "--check", "--home", str(joined.path)]
        assert RUNNER.invoke(commands, check).exit_code == NetworkError.exit_code
        joined.state_file.write_text(json.dumps({"status": "running", "processes": {}}))
        with only_one(joined.path / "site.lock"):
            assert RUNNER.invoke(commands, check).exit_code == 0

    @pytest.mark.parametrize("command", ["pause", "resume", "leave", "egress", "status"])
    def test_where_there_is_no_site_it_says_so(self, command: str, tmp_path: Path) -> None:
        done = RUNNER.invoke(commands, [command, "--home", str(tmp_path / "none")])
        assert done.exit_code == ConfigError.exit_code and "oncofed-site join" in done.stderr
        assert not (tmp_path / "none").exists()
