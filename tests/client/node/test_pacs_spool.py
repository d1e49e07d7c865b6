"""The spool: what was acknowledged is there after any end, and its limit holds."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.node.pacs_spool import Spool, SpoolFull, digest

WRITER = """
import sys
from pathlib import Path
from client.node.pacs_spool import Spool
spool = Spool(Path(sys.argv[1]), 10**9)
for number in range(10**6):
    spool.put(f"1.{number % 7}", f"2.{number}", bytes([number % 251]) * 5000)
    print(number, flush=True)
"""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def spool_in(folder: Path, limit: int = 10_000, clock: Clock | None = None) -> Spool:
    return Spool(folder, limit, clock or Clock())


def test_kill_9_loses_no_image_that_was_acknowledged(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    heard = [int(process.stdout.readline()) for _ in range(60)]
    process.send_signal(signal.SIGKILL)
    heard += [int(line) for line in process.stdout.read().split()]
    process.wait()
    process.stdout.close()
    spool = Spool(tmp_path, 10**9, Clock())
    kept = {path.name: path.read_bytes() for study in spool.due(0) for path in study.files}
    assert {name for number in heard if (name := f"{digest(f'2.{number}')}.dcm") not in kept} == set()
    assert {len(image) for image in kept.values()} == {5000} and not list(tmp_path.rglob("*.partial"))
    assert spool.used == 5000 * len(kept)
    assert {oct(path.stat().st_mode & 0o077) for path in tmp_path.rglob("*.dcm")} == {"0o0"}


def test_a_study_is_complete_after_a_quiet_time_and_read_once(tmp_path: Path) -> None:
    clock = Clock()
    spool = spool_in(tmp_path, clock=clock)
    spool.put("1.1", "2.1", b"a")
    clock.now += 20
    spool.put("1.1", "2.2", b"b")
    spool.put("1.2", "2.3", b"c")
    clock.now += 29
    assert spool.due(30) == []
    clock.now += 1
    first, other = spool.due(30)
    assert [path.read_bytes() for path in sorted(first.files, key=lambda path: path.read_bytes())] == [b"a", b"b"]
    spool.mark_read(first, {"study": "1.1", "instance": "9.9"})
    assert spool.due(30) == [other] and spool.waiting == 1
    spool.put("1.1", "2.1", b"a")
    clock.now += 99
    assert spool.due(30) == [other], "an image sent twice is one image"
    spool.put("1.1", "2.4", b"late")
    clock.now += 30
    late = next(study for study in spool.due(30) if study.key == first.key)
    assert len(late.files) == 3 and late.before == {"study": "1.1", "instance": "9.9"}
    assert [study.key for study in spool_in(tmp_path).due(0)] == sorted([late.key, other.key]), "after a start too"


def test_an_image_that_came_while_its_study_was_read_is_not_lost(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.put("1.1", "2.1", b"a")
    (study,) = spool.due(0)
    spool.put("1.1", "2.2", b"b")
    spool.mark_read(study, None)
    assert [len(found.files) for found in spool.due(0)] == [2]


def test_a_full_spool_refuses_and_what_was_read_makes_room(tmp_path: Path) -> None:
    clock = Clock()
    spool = spool_in(tmp_path, 250, clock)
    spool.put("1.1", "2.1", bytes(100))
    spool.put("1.2", "2.2", bytes(100))
    with pytest.raises(SpoolFull):
        spool.put("1.3", "2.3", bytes(100))
    assert spool.used == 200 and len(list(tmp_path.rglob("*.dcm"))) == 2
    spool.mark_read(spool.due(0)[0], None)
    spool.put("1.3", "2.3", bytes(100))
    assert [len(study.files) for study in spool.due(0)] == [1, 1] and spool.used == 200
    with pytest.raises(SpoolFull):
        spool.put("1.4", "2.4", bytes(300))


@pytest.mark.parametrize("step", ["fsync", "write", "replace"])
def test_a_full_disk_refuses_and_leaves_nothing(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spool_in(tmp_path)
    spool.put("1.1", "2.1", b"before")

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "fsync":
            patch.setattr(os, "fsync", full)
        elif step == "replace":
            patch.setattr(Path, "replace", full)
        else:
            patch.setattr("client.node.pacs_spool.write_whole", full)
        with pytest.raises(SpoolFull):
            spool.put("1.2", "2.2", bytes(100))
    assert spool.used == 6 and [path.read_bytes() for path in tmp_path.rglob("*.dcm")] == [b"before"]
    assert not list(tmp_path.rglob("*.partial"))
    spool.put("1.2", "2.2", bytes(100))
    assert len(spool.due(0)) == 2


def test_what_was_read_goes_after_its_time_and_a_mark_stays(tmp_path: Path) -> None:
    clock = Clock()
    spool = spool_in(tmp_path, clock=clock)
    spool.put("1.1", "2.1", b"a")
    spool.mark_read(spool.due(0)[0], None)
    clock.now += 59
    assert spool.purge(60) == 0
    clock.now += 1
    assert spool.purge(60) == 1 and spool.used == 0
    spool.put("1.1", "2.1", b"a")
    assert spool.due(0) == [], "the PACS sends an old exam again; it was read"


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "read", "purge", "start", "late"]), st.integers(0, 3), st.integers(0, 4)),
        max_size=40,
    )
)
@settings(max_examples=25, deadline=None)
def test_every_image_that_was_kept_waits_or_was_read(
    steps: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, clock = tmp_path_factory.mktemp("spool"), Clock()
    spool = Spool(folder, 400, clock)
    kept: set[tuple[str, str]] = set()
    read: set[tuple[str, str]] = set()
    for what, study, number in steps:
        clock.now += 1
        if what == "put":
            try:
                spool.put(f"1.{study}", f"2.{study}.{number}", bytes(60))
                kept.add((digest(f"1.{study}"), f"{digest(f'2.{study}.{number}')}.dcm"))
            except SpoolFull:
                assert spool.used + 60 > 400
        elif what in ("read", "late"):
            for found in spool.due(2)[:1]:
                if what == "late" and spool.used + 60 <= 400:
                    spool.put(f"1.{study}", f"2.{study}.9", bytes(60))
                    kept.add((digest(f"1.{study}"), f"{digest(f'2.{study}.9')}.dcm"))
                spool.mark_read(found, None)
                read |= {(found.key, path.name) for path in found.files}
        elif what == "purge":
            spool.purge(3)
        else:
            spool = Spool(folder, 400, clock)
        waiting = {(found.key, path.name) for found in spool.due(-1) for path in found.files}
        assert kept <= waiting | read
        assert spool.used == sum(path.stat().st_size for path in folder.rglob("*.dcm")) <= 400
