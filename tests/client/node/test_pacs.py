"""The loop between spool and outbox: whatever ends it where, each exam gets its report, and only one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from client.node.pacs import Loop, Pace
from client.node.pacs_outbox import Delivery, Outbox, Outcome
from client.node.pacs_spool import Spool, Study
from common.errors import ConfigError
from tests.client.node.test_pacs_spool import Clock
from tests.exams_as_dicom import source


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Site:
    """A listener's loop with a model and a PACS that do as they are told."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    asked: list[Study] = field(default_factory=list)
    received: dict[str, tuple[str, ...]] = field(default_factory=dict)
    up: bool = True
    fails: dict[str, Exception] = field(default_factory=dict)
    name: str = "pacs"

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.spool = Spool(self.folder, 10**9, self.clock)
        delivery = Delivery(Outbox(self.folder / "outbox"), [self], self.clock)
        self.loop = Loop(self.spool, delivery, self.read, Pace(quiet=10, keep=100), self.clock)

    def read(self, study: Study) -> Sequence[Dataset]:
        self.asked.append(study)
        if study.key in self.fails:
            raise self.fails[study.key]
        return [source("US", shape=(4, 4), PatientComments="|".join(path.name for path in study.files))]

    def send(self, files: Sequence[Path], kept: Callable[[Path], None]) -> Outcome:
        if not self.up:
            return "unreachable"
        for path in files:
            one = dcmread(path)
            self.received[str(one.SOPInstanceUID)] = tuple(str(one.PatientComments).split("|"))
            kept(path)
        return "sent"


def test_an_exam_is_read_once_sent_once_and_dropped(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.spool.put("1.1", "2.1", b"a")
    site.spool.put("1.1", "2.2", b"b")
    assert site.loop.turn()["read"] == 0
    site.clock.now += 10
    assert site.loop.turn() == {"read": 1, "without": 0, "failed": 0, "sent": 1, "refused": 0, "unreachable": 0}
    site.clock.now += 100
    site.loop.turn()
    assert len(site.asked) == len(site.received) == 1 and site.spool.used == 0


def test_a_late_image_makes_a_second_report_of_all_that_follows_the_first(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.spool.put("1.1", "2.1", b"a")
    site.clock.now += 10
    site.loop.turn()
    site.spool.put("1.1", "2.2", b"b")
    site.clock.now += 10
    site.loop.turn()
    assert [len(study.files) for study in site.asked] == [1, 2]
    assert site.asked[1].before is not None and site.asked[1].before["instance"] == next(iter(site.received))


def test_one_exam_that_fails_does_not_hold_back_the_others_and_is_tried_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number in range(3):
        site.spool.put(f"1.{number}", f"2.{number}", b"a")
    site.clock.now += 10
    bad = site.spool.due(10)[1].key
    site.fails[bad] = ValueError("Test^Patient")
    assert site.loop.turn() == {"read": 2, "without": 0, "failed": 1, "sent": 2, "refused": 0, "unreachable": 0}
    assert site.loop.last_error == "ValueError", "no text of a library: it may hold a name"
    site.fails[bad] = ConfigError("No model is active at this site")
    site.clock.now += 10
    assert site.loop.turn()["failed"] == 1 and "No model is active" in site.loop.last_error
    assert site.loop.turn()["failed"] == 0, "not at once again"
    del site.fails[bad]
    site.clock.now += 30
    assert site.loop.turn()["read"] == 1 and len(site.received) == 3


def test_an_exam_without_any_object_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path)
    site.loop.read = lambda study: ()
    site.spool.put("1.1", "2.1", b"a")
    site.clock.now += 10
    assert site.loop.turn()["without"] == 1 and site.spool.waiting == 0 and site.loop.turn()["without"] == 0


@pytest.mark.parametrize("where", ["put", "mark_read", "flush", "kept"])
def test_a_crash_between_two_steps_makes_neither_none_nor_two_reports(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    site.spool.put("1.1", "2.1", b"a")
    site.clock.now += 10
    owner: Any = {"put": Outbox, "kept": Outbox, "mark_read": Spool, "flush": Delivery}[where]

    def killed(*arguments: Any, **options: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, where, killed)
        with pytest.raises(Killed):
            site.loop.turn()
    site.start()
    for _ in range(3):
        site.loop.turn()
        site.clock.now += 10
    assert len(site.received) == 1 and site.spool.waiting == site.loop.delivery.outbox.waiting == 0
    assert len(site.asked) == (2 if where == "put" else 1)


def test_a_full_disk_after_the_results_were_written_makes_no_second_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    site.spool.put("1.1", "2.1", b"a")
    site.clock.now += 10

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("client.node.pacs_spool.write_durably", full)
        assert site.loop.turn()["failed"] == 1 and site.loop.last_error == "OSError"
    site.clock.now += 10
    assert site.loop.turn()["read"] == 1 and len(site.asked) == len(site.received) == 1
    site.spool.put("1.1", "2.2", b"b")
    site.clock.now += 10
    site.loop.turn()
    assert site.asked[1].before is not None and site.asked[1].before["instance"] in site.received


STEPS = st.sampled_from(["image", "step", "wait", "start", "down", "up", "killed"])


@given(steps=st.lists(st.tuples(STEPS, st.integers(0, 2), st.integers(0, 3)), max_size=30))
@settings(max_examples=20, deadline=None)
def test_in_the_end_every_image_is_in_a_report_that_the_pacs_has(
    steps: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    site = Site(tmp_path_factory.mktemp("site"))
    kept: set[str] = set()
    for what, study, number in steps:
        if what == "image":
            site.spool.put(f"1.{study}", f"2.{study}.{number}", b"x")
            kept = kept | {path.name for found in site.spool.due(-1) for path in found.files}
        elif what == "step":
            site.loop.turn()
        elif what == "wait":
            site.clock.now += 6
        elif what == "start":
            site.start()
        elif what == "killed":
            interrupted(site, number)
        else:
            site.up = what == "up"
    site.up = True
    for _ in range(6):
        site.clock.now += 700
        site.loop.turn()
    assert kept == {name for names in site.received.values() for name in names}
    assert len(set(site.received.values())) == len(site.received), "no report twice"
    assert site.spool.waiting == site.loop.delivery.outbox.waiting == 0


def interrupted(site: Site, where: int) -> None:
    """Ends the loop at one of four places, and starts it again."""
    owner: Any = [site.spool, site.loop.delivery.outbox, site.loop.delivery.outbox, site.loop.delivery][where]
    name = ["mark_read", "put", "kept", "flush"][where]
    with pytest.MonkeyPatch.context() as patch:
        if name == "flush":
            site.loop.delivery = type("Dead", (), {"flush": killed, "outbox": owner.outbox, "destinations": [site]})()  # type: ignore[assignment]
        else:
            patch.setattr(type(owner), name, killed)
        with suppress(Killed):
            site.loop.turn()
    site.start()


def killed(*arguments: Any, **options: Any) -> None:
    raise Killed
