"""A run starts only when it is asked for, goes on once at a time, and says INTERRUPTED when its aggregator is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import ConfigError, FederationError, TrustError
from common.supervisor import only_one
from server.hub import conductor
from server.hub.conductor import Conductor
from server.hub.home import HubConfig, HubHome, write_config
from server.hub.interrupted import INTERRUPTED, end_aggregator, settle
from server.hub.processes import AGGREGATOR_LOCK, aggregator_lives
from server.hub.tickets import Tickets

HOLD = (
    "import sys, signal; from pathlib import Path; from server.hub.processes import _hold; "
    "_hold(Path(sys.argv[1])); print('held', flush=True); signal.pause()"
)


@pytest.fixture
def home(tmp_path: Path) -> HubHome:
    found = HubHome(tmp_path)
    found.runs.mkdir(parents=True)
    write_config(found, HubConfig(overrides=("data=phantom",)))
    return found


@pytest.fixture
def folder(home: HubHome) -> Path:
    """The folder of a run that says RUNNING."""
    folder = home.runs / "x"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"status": "RUNNING", "rounds_done": 1, "rounds_planned": 2}))
    home.last_run.write_text(f"{folder}\n")
    return folder


@pytest.fixture
def aggregator(home: HubHome) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the aggregator's lock."""
    command = [sys.executable, "-c", HOLD, str(home.path / AGGREGATOR_LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


class Control:
    """A SuperLink that remembers what it was told to stop."""

    def __init__(self) -> None:
        self.stopped: list[int] = []

    def alive(self) -> bool:
        return True

    def stop_run(self, run_id: int) -> None:
        self.stopped.append(run_id)


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Control:
    found = Control()
    monkeypatch.setattr(conductor, "Control", lambda home: found)
    return found


def status(folder: Path) -> tuple[str, str]:
    found = json.loads((folder / "run.json").read_text())
    return found["status"], found.get("reason", "")


class TestTickets:
    def test_a_ticket_opens_one_start_of_its_own_run(self, tmp_path: Path) -> None:
        tickets = Tickets.of(tmp_path)
        ticket = tickets.issue(tmp_path / "x")
        tickets.use(ticket, tmp_path / "x")
        with pytest.raises(TrustError, match="Nobody asked"):
            tickets.use(ticket, tmp_path / "x")

    def test_a_hub_that_starts_anew_honours_none_of_before(self, tmp_path: Path) -> None:
        tickets = Tickets.of(tmp_path)
        ticket = tickets.issue(tmp_path / "x")
        tickets.void()
        with pytest.raises(TrustError, match="resume"):
            tickets.use(ticket, tmp_path / "x")

    def test_no_other_run_and_no_other_file_is_opened(self, tmp_path: Path) -> None:
        tickets = Tickets.of(tmp_path)
        with pytest.raises(TrustError, match="for the run in"):
            tickets.use(tickets.issue(tmp_path / "x"), tmp_path / "y")
        (tmp_path / "secret").write_text(str(tmp_path / "x"))
        for forged in ("", "../secret", "a" * 32):
            with pytest.raises(TrustError, match="Nobody asked"):
                tickets.use(forged, tmp_path / "x")
        assert (tmp_path / "secret").exists()


class TestSettle:
    def test_a_run_without_an_aggregator_is_interrupted_and_says_how_to_go_on(
        self, home: HubHome, folder: Path
    ) -> None:
        assert settle(home) == folder
        found, reason = status(folder)
        assert found == INTERRUPTED and f"oncofed-hub run --resume {folder}" in reason
        assert settle(home) is None, "once"

    def test_a_run_with_an_aggregator_goes_on(
        self, home: HubHome, folder: Path, aggregator: subprocess.Popen[str]
    ) -> None:
        assert settle(home) is None and status(folder)[0] == "RUNNING"
        aggregator.kill()
        aggregator.wait()
        assert settle(home) == folder

    @pytest.mark.parametrize("ended", ["COMPLETED", "PARTIAL", "FAILED"])
    def test_what_has_ended_stays_as_it_is(self, home: HubHome, folder: Path, ended: str) -> None:
        (folder / "run.json").write_text(json.dumps({"status": ended}))
        assert settle(home) is None and status(folder)[0] == ended

    def test_a_hub_without_a_run_has_nothing_to_settle(self, home: HubHome) -> None:
        assert settle(home) is None and not end_aggregator(home)


class TestStop:
    def test_the_aggregator_ends_and_flower_is_told(
        self, home: HubHome, folder: Path, aggregator: subprocess.Popen[str], control: Control
    ) -> None:
        home.flower_run.write_text("17")
        assert Conductor(home).stop(None) == folder
        assert control.stopped == [17] and not aggregator_lives(home.path)
        assert status(folder)[0] == INTERRUPTED and "its operator stopped it" in status(folder)[1]

    def test_what_does_not_run_cannot_be_stopped(self, home: HubHome, folder: Path, control: Control) -> None:
        (folder / "run.json").write_text(json.dumps({"status": "COMPLETED"}))
        with pytest.raises(ConfigError, match="does not run"):
            Conductor(home).stop(None)
        with pytest.raises(ConfigError, match="No run in"):
            Conductor(home).stop(folder.parent / "other")

    def test_the_command_that_follows_it_hears_of_it(self, home: HubHome, folder: Path, control: Control) -> None:
        home.stop_asked.write_text(f"{folder}\n")
        with pytest.raises(FederationError, match="was stopped"):
            Conductor(home)._check_stopped(folder)
        assert status(folder)[0] == INTERRUPTED


class TestOneRun:
    def test_a_second_run_is_refused_while_an_aggregator_works(
        self, home: HubHome, folder: Path, aggregator: subprocess.Popen[str], control: Control
    ) -> None:
        with pytest.raises(ConfigError, match="goes on; wait for it"):
            Conductor(home).start(["data=phantom"], None, lambda event: None)

    def test_a_second_run_is_refused_while_a_command_follows_the_first(
        self, home: HubHome, folder: Path, control: Control
    ) -> None:
        with only_one(home.run_lock), pytest.raises(ConfigError, match="oncofed-hub stop"):
            Conductor(home).start(["data=phantom"], None, lambda event: None)


def test_a_hub_answers_no_start_without_a_ticket(
    home: HubHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Flower would take up from its database after a restart."""
    from flwr.app import Context, RecordDict
    from flwr.clientapp import ClientApp

    from server.app import conduct
    from server.enrolment import REGISTER
    from simulations.grid import InProcessGrid

    home.sites_file.write_text('{"schema_version": 1, "sites": {}}')
    monkeypatch.setenv(REGISTER, str(home.sites_file))
    config = {"overrides": "data=phantom", "out-dir": str(tmp_path / "run")}
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=config)
    with pytest.raises(TrustError, match="Nobody asked"):
        conduct(InProcessGrid(ClientApp(), num_nodes=1), context)
    assert not (tmp_path / "run").exists()
