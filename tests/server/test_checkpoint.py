"""A checkpoint is whole or not there, and belongs to one study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.errors import ConfigError, TrustError
from server.checkpoint import Checkpoint, latest, save

W = {"w": np.arange(4, dtype=np.float32)}


def _checkpoint(round_index: int) -> Checkpoint:
    return Checkpoint(
        round_index=round_index,
        study_digest="d",
        run="r",
        arrays=W,
        average=W,
        best=W,
        strategy={},
        notes={"best_round": 1},
    )


def test_the_newest_is_found_and_only_two_are_kept(tmp_path: Path) -> None:
    for index in (1, 2, 3):
        save(tmp_path, _checkpoint(index))
    found = latest(tmp_path, "d")
    assert found is not None and found.round_index == 3
    assert np.array_equal(found.arrays["w"], W["w"])
    assert len(list(tmp_path.iterdir())) == 2


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert latest(tmp_path, "d") is None


def test_a_write_cut_short_leaves_the_one_before(tmp_path: Path) -> None:
    save(tmp_path, _checkpoint(1))
    (tmp_path / ".round-00002.partial").mkdir()
    found = latest(tmp_path, "d")
    assert found is not None and found.round_index == 1


def test_another_study_is_not_resumed(tmp_path: Path) -> None:
    save(tmp_path, _checkpoint(1))
    with pytest.raises(TrustError, match="another study"):
        latest(tmp_path, "e")


@pytest.mark.parametrize("name", ["state.json", "arrays.safetensors"])
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    save(tmp_path, _checkpoint(1))
    (tmp_path / "round-00001" / name).write_bytes(b"{")
    with pytest.raises(ConfigError, match="damaged"):
        latest(tmp_path, "d")
