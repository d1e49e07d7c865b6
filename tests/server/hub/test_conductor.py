"""A run that has begun is brought to its end, however long the hub is away and whatever dies meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import FederationError, NetworkError
from server.hub import conductor
from server.hub.conductor import Conductor
from server.hub.home import HubConfig, HubHome, write_config
from server.hub.tickets import Tickets


@dataclass
class Flower:
    """A hub in its own time. Each attempt ends with the next of ``ends``: COMPLETED, or the aggregator dies.

    Attributes:
        away: From and until when the hub does not answer, seconds.
        rounds: After which the run stands when an attempt ends.
        refused: After so many submissions the next one fails once.
        confused: Whether it answers questions of a run with nonsense.
    """

    away: tuple[float, float] = (0.0, 0.0)
    ends: list[str] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    confused: bool = False
    seconds: float = 0.0
    asked: list[Mapping[str, str]] = field(default_factory=list)
    looks: int = 0
    folder: Path = Path()

    def alive(self) -> bool:
        return not self.away[0] <= self.seconds < self.away[1]

    def submit(self, app: Path, run_config: Mapping[str, str]) -> int:
        if len(self.asked) in self.refused:
            self.refused.remove(len(self.asked))
            raise NetworkError("the SuperLink did not answer")
        self.asked.append(run_config)
        self.looks = 0
        folder = self.folder = Path(run_config["resume"] or run_config["out-dir"])
        done = {"status": self.ends.pop(0), "rounds_done": self.rounds.pop(0), "rounds_planned": 2}
        (folder / "run.json").write_text(json.dumps(done))
        return 1

    def run_status(self, run_id: int) -> tuple[str, str]:
        if not self.alive():
            raise NetworkError("away")
        if self.confused:
            raise ValueError("expected one run, found none")
        return "running", ""

    def stop_run(self, run_id: int) -> None:
        assert self.alive()

    def conducted(self, home: Path) -> Path | None:
        self.looks += 1
        return self.folder if self.asked and self.looks == 1 else None

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def home(tmp_path: Path) -> HubHome:
    found = HubHome(tmp_path)
    found.runs.mkdir(parents=True)
    write_config(found, HubConfig(overrides=("data=phantom",), restart_seconds=30))
    return found


def follow(
    home: HubHome, flower: Flower, monkeypatch: pytest.MonkeyPatch, *, rehearsal: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Returns ``run.json`` at the end, and the phases that the operator was told of."""
    monkeypatch.setattr(conductor, "Control", lambda home: flower)
    monkeypatch.setattr(conductor, "conducted", flower.conducted)
    monkeypatch.setattr(conductor, "time", SimpleNamespace(monotonic=lambda: flower.seconds, sleep=flower.sleep))
    said: list[str] = []
    folder = Conductor(home).start(
        ["data=phantom"], None, lambda event: said.append(str(event.get("phase"))), rehearsal=rehearsal
    )
    return json.loads((folder / "run.json").read_text()), said


def test_a_run_that_has_begun_waits_for_a_hub_that_is_away_for_an_hour(
    home: HubHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    flower = Flower(away=(0.1, 3600.0), ends=["RUNNING", "COMPLETED"], rounds=[1, 2])
    found, said = follow(home, flower, monkeypatch)
    assert found["status"] == "COMPLETED" and flower.seconds >= 3600
    assert said == ["starting", "waiting", "interrupted"]
    first, second = flower.asked
    assert first["resume"] == "" and second["resume"] == first["out-dir"], "it goes on where it was"


@pytest.mark.parametrize(("refused", "confused"), [([1], False), ([1, 1], False), ([], True)])
def test_a_hub_that_comes_back_slowly_ends_no_run(
    home: HubHome, monkeypatch: pytest.MonkeyPatch, refused: list[int], confused: bool
) -> None:
    flower = Flower(ends=["RUNNING", "COMPLETED"], rounds=[1, 2], refused=list(refused), confused=confused)
    found, said = follow(home, flower, monkeypatch)
    assert found["status"] == "COMPLETED" and len(flower.asked) == 2 and said.count("interrupted") == 1 + len(refused)


def test_a_run_that_cannot_be_submitted_has_not_begun(home: HubHome, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NetworkError, match="did not answer"):
        follow(home, Flower(refused=[0]), monkeypatch)


def test_a_run_does_not_begin_without_a_hub(home: HubHome, monkeypatch: pytest.MonkeyPatch) -> None:
    flower = Flower(away=(0.0, 3600.0))
    with pytest.raises(NetworkError, match="oncofed-hub start"):
        follow(home, flower, monkeypatch)
    assert flower.asked == [] and flower.seconds < 300


def test_attempts_without_a_new_round_are_given_up_and_say_how_to_go_on(
    home: HubHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    flower = Flower(ends=["RUNNING"] * 5, rounds=[0, 1, 1, 1, 1])
    with pytest.raises(FederationError, match="oncofed-hub run --resume"):
        follow(home, flower, monkeypatch)
    assert len(flower.asked) == 5, "the second attempt brought a round, so three more may bring none"


@pytest.mark.parametrize("rehearsal", [False, True])
def test_flower_is_told_at_every_start_whether_it_is_a_rehearsal(
    home: HubHome, monkeypatch: pytest.MonkeyPatch, rehearsal: bool
) -> None:
    flower = Flower(ends=["RUNNING", "COMPLETED"], rounds=[0, 1])
    follow(home, flower, monkeypatch, rehearsal=rehearsal)
    assert [config["rehearsal"] for config in flower.asked] == ["true" if rehearsal else ""] * 2


def test_a_run_that_ended_leaves_no_ticket(home: HubHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which this hub's aggregator, that only seems to run, never used."""
    follow(home, Flower(ends=["RUNNING", "COMPLETED"], rounds=[1, 2]), monkeypatch)
    assert Tickets.of(home.path).awaited() == set()
