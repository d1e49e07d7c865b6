"""A run starts only when it is asked for, goes on once at a time, and says INTERRUPTED when its aggregator is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import typer

from common.errors import ConfigError, FederationError, NetworkError, TrustError
from common.services.supervisor import only_one
from server.cli import study as study_cli
from server.hub import conductor
from server.hub.conductor import Conductor
from server.hub.holder import AGGREGATOR_LOCK, CONDUCTED, conducted, holder, mark
from server.hub.home import HubConfig, HubHome, write_config
from server.hub.interrupted import INTERRUPTED, end_aggregator, settle
from server.hub.processes import aggregator_lives
from server.hub.tickets import Tickets

HOLD = (
    "import sys, signal; from pathlib import Path; from server.hub.processes import _hold; "
    "from server.hub.tickets import Tickets; home = Path(sys.argv[1]); _hold(home / 'aggregator.lock'); "
    "sys.argv[2] and Tickets.of(home).use(sys.argv[2], Path(sys.argv[3])); print('held', flush=True); signal.pause()"
)
LOCK = (
    "import sys, signal; from pathlib import Path; from common.services.supervisor import only_one\n"
    "with only_one(Path(sys.argv[1])): print('held', flush=True); signal.pause()"
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


def begun(stack: ExitStack, *arguments: str) -> subprocess.Popen[str]:
    """Returns a process once it has said that it holds a lock."""
    process = stack.enter_context(subprocess.Popen([sys.executable, "-c", *arguments], stdout=-1, text=True))
    stack.callback(process.kill)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


Aggregator = Callable[[Path | None], subprocess.Popen[str]]


@pytest.fixture
def start(home: HubHome) -> Iterator[Aggregator]:
    """Starts an aggregator, which conducts the run in a folder once it has used its ticket."""
    with ExitStack() as stack:

        def starting(run: Path | None) -> subprocess.Popen[str]:
            ticket = Tickets.of(home.path).issue(run) if run else ""
            return begun(stack, HOLD, str(home.path), ticket, str(run))

        yield starting


@pytest.fixture
def aggregator(start: Aggregator, folder: Path) -> subprocess.Popen[str]:
    """The process that conducts the run in ``folder``."""
    return start(folder)


class Control:
    """A SuperLink that remembers what it was told to stop, and tells ``hooks`` of what it is asked."""

    def __init__(self) -> None:
        self.stopped: list[int] = []
        self.asked: list[Mapping[str, str]] = []
        self.hooks: dict[str, Callable[[], object]] = {}
        self.up = True

    def alive(self) -> bool:
        self.hooks.get("alive", lambda: None)()
        return self.up

    def submit(self, app: Path, run_config: Mapping[str, str]) -> int:
        self.asked.append(run_config)
        self.hooks.get("submit", lambda: None)()
        return 7

    def run_status(self, run_id: int) -> tuple[str, str]:
        return "running", ""

    def stop_run(self, run_id: int) -> None:
        self.stopped.append(run_id)


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Control:
    found = Control()
    monkeypatch.setattr(conductor, "Control", lambda home: found)
    return found


def fail(error: type[BaseException]) -> None:
    raise error


def once(action: Callable[[], object]) -> Callable[[], object]:
    """Returns what does it the first time that it is called, and then nothing; it may come to call itself."""
    left = [action]
    return lambda: left.pop()() if left else None


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

    @pytest.mark.parametrize("moment", ["alive", "submit"])
    def test_a_run_that_is_stopped_before_it_starts_never_does(
        self, home: HubHome, control: Control, moment: str
    ) -> None:
        """While the command waits for the hub, or while Flower takes the run."""
        control.up = moment != "alive"
        control.hooks[moment] = once(lambda: Conductor(home).stop(None))
        said = list[str]()
        with pytest.raises(FederationError, match="was stopped"):
            Conductor(home).start(["data=phantom"], None, lambda event: said.append(event["phase"]))
        assert "interrupted" not in said, "nothing was tried again"
        assert Tickets.of(home.path).awaited() == set()
        assert len(control.asked) == len(control.stopped) == (moment == "submit")

    def test_a_stop_between_ticket_and_flower_is_seen(
        self, home: HubHome, control: Control, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = Conductor(home)
        issue = Tickets.issue

        def late(tickets: Tickets, run: Path) -> str:
            home.stop_asked.write_text(f"{run}\n")
            return issue(tickets, run)

        monkeypatch.setattr(Tickets, "issue", late)
        with pytest.raises(FederationError, match="was stopped"):
            one.start(["data=phantom"], None, lambda event: None)
        assert not control.asked and Tickets.of(home.path).awaited() == set()

    @pytest.mark.parametrize("error", [KeyboardInterrupt, NetworkError, OSError])
    def test_a_submission_that_was_cut_opens_nothing(
        self, home: HubHome, control: Control, error: type[BaseException]
    ) -> None:
        control.hooks["submit"] = lambda: fail(error)
        one = Conductor(home)
        with pytest.raises(error):
            one.start(["data=phantom"], None, lambda event: None)
        ticket, run = control.asked[0]["ticket"], Path(control.asked[0]["out-dir"])
        with pytest.raises(TrustError, match="Nobody asked"):
            Tickets.of(home.path).use(ticket, run)
        assert one.underway is None

    def test_another_run_than_its_own_is_left_alone(
        self, home: HubHome, folder: Path, start: Aggregator, control: Control
    ) -> None:
        other = start(home.runs / "other")
        with pytest.raises(ConfigError, match="does not run"):
            Conductor(home).stop(None)
        assert other.poll() is None and conducted(home.path) == home.runs / "other"

    def test_what_waits_in_flower_can_be_stopped(self, home: HubHome, folder: Path, control: Control) -> None:
        (folder / "run.json").unlink()
        Tickets.of(home.path).issue(folder)
        assert Conductor(home).stop(None) == folder and Tickets.of(home.path).awaited() == set()

    def test_an_old_stop_is_not_of_a_run_that_is_taken_up_again(
        self, home: HubHome, folder: Path, control: Control
    ) -> None:
        (folder / "overrides.yaml").write_text("[data=phantom]")
        home.stop_asked.write_text(f"{folder}\n")
        control.hooks["submit"] = lambda: fail(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            Conductor(home).resume(folder, lambda event: None)
        assert control.asked[0]["resume"] == str(folder)

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

    def test_an_aggregator_that_only_ends_after_its_run_holds_up_nobody(
        self, home: HubHome, folder: Path, aggregator: subprocess.Popen[str], control: Control
    ) -> None:
        (home.path / CONDUCTED).write_text(f"{mark(aggregator.pid)}\n{folder}\n")
        with pytest.raises(ConfigError, match="goes on; wait for it"):
            Conductor(home)._check_free()
        (folder / "run.json").write_text(json.dumps({"status": "COMPLETED"}))
        Conductor(home)._check_free()

    def test_a_second_run_is_refused_while_a_command_follows_the_first(
        self, home: HubHome, folder: Path, control: Control
    ) -> None:
        with only_one(home.run_lock), pytest.raises(ConfigError, match="oncofed-hub stop"):
            Conductor(home).start(["data=phantom"], None, lambda event: None)

    def test_a_second_run_is_refused_while_the_first_waits_in_flower(
        self, home: HubHome, folder: Path, control: Control
    ) -> None:
        Tickets.of(home.path).issue(folder)
        other = home.runs / "other"
        other.mkdir()
        (other / "run.json").write_text(json.dumps({"status": "INTERRUPTED", "rounds_planned": 2}))
        for second in (lambda one: one.start(["data=phantom"], None, print), lambda one: one.resume(other, print)):
            with pytest.raises(ConfigError, match="goes on; wait for it"):
                second(Conductor(home))

    def test_another_runs_aggregator_is_not_taken_for_its_own(
        self, home: HubHome, folder: Path, start: Aggregator, control: Control
    ) -> None:
        start(home.runs / "other")
        with pytest.raises(ConfigError, match="goes on; wait for it"):
            Conductor(home).resume(folder, lambda event: None)

    def test_a_run_that_broke_off_unseen_is_settled_before_the_next_begins(
        self, home: HubHome, folder: Path, control: Control
    ) -> None:
        control.hooks["submit"] = lambda: fail(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            Conductor(home).start(["data=phantom"], None, lambda event: None)
        assert status(folder)[0] == INTERRUPTED


class TestHolder:
    def test_a_process_that_only_has_the_number_is_never_ended(self, home: HubHome) -> None:
        """The lock is held for a moment by whoever asks for it, and the file still names a process of long ago."""
        lock = home.path / AGGREGATOR_LOCK
        with ExitStack() as stack:
            victim = begun(stack, "import signal; print('held', flush=True); signal.pause()")
            begun(stack, LOCK, str(lock))
            for noted in (str(victim.pid), f"{victim.pid} 1", "", "x y"):
                lock.write_text(noted)
                assert holder(home.path) is None and not end_aggregator(home) and victim.poll() is None

    def test_a_run_is_conducted_by_a_living_aggregator_that_used_its_ticket(
        self, home: HubHome, folder: Path, start: Aggregator
    ) -> None:
        loading = start(None)
        assert aggregator_lives(home.path) and conducted(home.path) is None
        loading.kill()
        loading.wait()
        working = start(folder)
        assert conducted(home.path) == folder and mark(working.pid).startswith(f"{working.pid} ")
        working.kill()
        working.wait()
        assert conducted(home.path) is None and mark(working.pid) == ""


class TestLeaving:
    """Ctrl-C, and then: do not leave it."""

    @pytest.fixture(autouse=True)
    def asks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
        monkeypatch.setattr("typer.confirm", lambda *args, **options: False)

    @pytest.mark.parametrize("command", ["run", "check", "resume"])
    def test_what_has_begun_nothing_stops_no_other_run(
        self, home: HubHome, folder: Path, aggregator: subprocess.Popen[str], control: Control,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str,
    ) -> None:  # fmt: skip
        for name in ("compose", "read_status"):
            monkeypatch.setattr(conductor, name, lambda _: fail(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            if command == "check":
                study_cli.check(home=home.path)
            else:
                study_cli.run(home=home.path, resume=folder if command == "resume" else None)
        assert aggregator.poll() is None and control.stopped == [] and status(folder)[0] == "RUNNING"
        assert "Nothing of this command goes on" in capsys.readouterr().err

    def test_what_it_has_begun_is_stopped(
        self, home: HubHome, control: Control, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(Conductor, "_watch", lambda *_: fail(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            study_cli.run(home=home.path)
        assert Tickets.of(home.path).awaited() == set() and control.stopped == [7]
        assert "Stopped. Go on with" in capsys.readouterr().err

    def test_who_interrupts_the_question_too_is_told_that_it_goes_on(
        self, home: HubHome, control: Control, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Ctrl-C twice, or Ctrl-D: before, it said `Aborted!`, and nothing of the run."""
        monkeypatch.setattr("typer.confirm", lambda *args, **options: fail(typer.Abort))
        monkeypatch.setattr(Conductor, "_watch", lambda *_: fail(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            study_cli.run(home=home.path)
        assert len(Tickets.of(home.path).awaited()) == 1 and control.stopped == []
        assert "The run goes on" in capsys.readouterr().err


def test_a_hub_answers_no_start_without_a_ticket(
    home: HubHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Flower would take up from its database after a restart."""
    from flwr.app import Context, RecordDict
    from flwr.clientapp import ClientApp

    from server.app import conduct
    from server.run.enrolment import REGISTER
    from simulations.engine.grid import InProcessGrid

    home.sites_file.write_text('{"schema_version": 1, "sites": {}}')
    monkeypatch.setenv(REGISTER, str(home.sites_file))
    config = {"overrides": "data=phantom", "out-dir": str(tmp_path / "run")}
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=config)
    with pytest.raises(TrustError, match="Nobody asked"):
        conduct(InProcessGrid(ClientApp(), num_nodes=1), context)
    assert not (tmp_path / "run").exists()
