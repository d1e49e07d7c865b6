"""Whatever the disk, the power or a signal does during a charge: nothing that was released is forgotten.

``python -m tests.scenarios.ledger_matrix`` prints the whole matrix; each test makes one column of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.disk_model import Call, Disk
from tests.scenarios.ledger_matrix import ALL, POWER, run
from tests.scenarios.ledger_work import WORKS
from tests.scenarios.striker import build

DIES = "kill -9 before the call"
TORN = "kill -9 half-way through a write"
FULL = "disk full from the call on"
SECOND = "opened for each charge"

PLANTED = {
    "SQLite does not sync": (
        "import common.privacy.ledger as m\n"
        "right = m.Ledger._prepare\n"
        "def wrong(self, key): right(self, key); self._db.execute('PRAGMA synchronous=OFF')\n"
        "m.Ledger._prepare = wrong",
        POWER, SECOND,
    ),
    "the head is written in place": (
        "import common.trust.journal as m\nm.write_durably = lambda path, text: path.write_text(text)", TORN, SECOND,
    ),
    "the head is written before the row": (
        "import common.privacy.ledger as m\n"
        "right = m.Ledger._insert\n"
        "def wrong(self, last, body):\n"
        "    entry = right(self, last, body); m.write_head(self._head_path, entry.head); return entry\n"
        "m.Ledger._insert = wrong",
        DIES, SECOND,
    ),
    "the name of a new folder is not synced": (
        "import common.privacy.ledger as m\nm.make_folder = lambda folder: folder.mkdir(exist_ok=True)",
        POWER, "first use",
    ),
    "a full disk is not a refusal": (
        "import common.privacy.ledger as m, contextlib\nm._readable_errors = lambda path: contextlib.nullcontext()",
        FULL, SECOND,
    ),
}  # fmt: skip


@pytest.mark.parametrize("work", WORKS)
def test_a_fault_at_any_writing_call_loses_nothing(work: str) -> None:
    """Clocks run backwards in all of it."""
    rows = run(works=[work])
    assert [row.fault for row in rows] == list(ALL)
    assert [failure for row in rows for failure in row.failures] == []
    assert all(row.tried >= 5 for row in rows)
    assert sum(row.tried for row in rows) > 250


@pytest.mark.parametrize("name", PLANTED)
def test_the_matrix_sees_a_ledger_that_is_wrong(name: str) -> None:
    plant, fault, work = PLANTED[name]
    (row,) = run([fault], [work], plant)
    assert row.failures


def test_a_missing_compiler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="need a C compiler"):
        build(tmp_path)


class TestDiskModel:
    """The model must forget what POSIX lets a disk forget, or the matrix would be too kind."""

    def disk(self, *calls: tuple[str, int, int, bytes, str, str]) -> Disk:
        disk = Disk("/r")
        for call in calls:
            disk.apply(Call(*call))
        return disk

    def test_a_file_without_syncs_may_be_absent_empty_or_whole(self) -> None:
        disk = self.disk(("c", 1, 0, b"", "/r/a", "-"), ("w", 1, 0, b"ab", "-", "-"))
        states = [*disk.after_power_loss(range(60))]
        assert {} in states and {"/r/a": b""} in states and {"/r/a": b"ab"} in states and {"/r/a": b"a"} in states

    def test_a_synced_file_is_lost_with_its_name_until_the_folder_is_synced(self) -> None:
        calls = [("c", 1, 0, b"", "/r/a", "-"), ("w", 1, 0, b"ab", "-", "-"), ("s", 1, 0, b"", "-", "-")]
        assert {} in [*self.disk(*calls).after_power_loss(range(0))]
        assert [*self.disk(*calls, ("d", 0, 0, b"", "/r", "-")).after_power_loss(range(9))] == [{"/r/a": b"ab"}] * 13

    def test_a_file_is_lost_with_the_folder_whose_own_name_was_not_synced(self) -> None:
        calls = [("m", 0, 0, b"", "/r/f", "-"), ("c", 1, 0, b"", "/r/f/a", "-"), ("d", 0, 0, b"", "/r/f", "-")]
        assert {} in self.disk(*calls).after_power_loss(range(0))
        assert {} not in self.disk(*calls, ("d", 0, 0, b"", "/r", "-")).after_power_loss(range(9))

    def test_what_a_failed_sync_held_is_never_secured(self) -> None:
        calls = [("c", 1, 0, b"", "/r/a", "-"), ("d", 0, 0, b"", "/r", "-"), ("w", 1, 0, b"ab", "-", "-"),
                 ("f", 1, 0, b"", "-", "-"), ("w", 1, 0, b"c", "-", "-"), ("s", 1, 0, b"", "-", "-")]  # fmt: skip
        assert {"/r/a": b"c"} in [*self.disk(*calls).after_power_loss(range(0))]

    def test_a_rename_without_a_sync_may_leave_the_old_file(self) -> None:
        disk = self.disk(
            ("c", 1, 0, b"", "/r/a", "-"), ("w", 1, 0, b"old", "-", "-"), ("s", 1, 0, b"", "-", "-"),
            ("d", 0, 0, b"", "/r", "-"), ("c", 2, 0, b"", "/r/b", "-"), ("w", 2, 0, b"new", "-", "-"),
            ("r", 0, 0, b"", "/r/b", "/r/a"),
        )  # fmt: skip
        names = [state["/r/a"] for state in disk.after_power_loss(range(40))]
        assert {b"old", b"new", b""} <= set(names) and None not in names
