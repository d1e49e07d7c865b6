"""A file is the old or the new one, and a lock has one holder."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import LedgerError
from common.trust.durable import exclusive, make_folder, write_durably


@pytest.mark.parametrize("call", ["os.fsync", "Path.replace"])
def test_a_write_that_fails_leaves_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "head"
    write_durably(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"common.trust.durable.{call}", full)
        with pytest.raises(OSError, match="No space"):
            write_durably(path, "new")
    assert path.read_text() == "old"
    write_durably(path, "new")
    assert path.read_text() == "new"


def test_a_lock_has_one_holder_and_is_let_go_on_any_end(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with exclusive(lock), pytest.raises(LedgerError, match="Another process holds"), exclusive(lock, seconds=0):
        pass
    with pytest.raises(KeyError), exclusive(lock):
        raise KeyError
    with exclusive(lock, seconds=0):
        pass


def test_a_new_folder_is_made_with_those_above_it_and_each_name_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("common.trust.durable.sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    above = [tmp_path.resolve() / "a", tmp_path.resolve()]
    assert synced[:2] == above and synced.count(above[0]) == 2, "a crash may have come before the first sync"
