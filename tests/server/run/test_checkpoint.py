"""A checkpoint is whole or not there, and belongs to one study."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError, TrustError
from server.run.checkpoint import KEY, SIGNATURE, STATE, TENSORS, Checkpoint, latest, save

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


def _latest(folder: Path) -> Checkpoint | None:
    return latest(folder, study_digest="d", run="r")


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "hub" / "checkpoint.ed25519"
    monkeypatch.setenv(KEY, str(path))
    return path


def test_the_newest_is_found_and_only_two_are_kept(tmp_path: Path) -> None:
    for index in (1, 2, 3):
        save(tmp_path, _checkpoint(index))
    found = _latest(tmp_path)
    assert found is not None and found.round_index == 3
    assert np.array_equal(found.arrays["w"], W["w"])
    assert len(list(tmp_path.iterdir())) == 2


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert _latest(tmp_path) is None


def test_a_write_cut_short_leaves_the_one_before(tmp_path: Path) -> None:
    save(tmp_path, _checkpoint(1))
    (tmp_path / ".round-00002.partial").mkdir()
    found = _latest(tmp_path)
    assert found is not None and found.round_index == 1


def test_another_study_is_not_resumed(tmp_path: Path) -> None:
    save(tmp_path, _checkpoint(1))
    with pytest.raises(TrustError, match="another study"):
        latest(tmp_path, study_digest="e", run="r")


def test_another_run_of_the_study_is_not_resumed(tmp_path: Path) -> None:
    save(tmp_path, _checkpoint(1))
    with pytest.raises(TrustError, match="another run"):
        latest(tmp_path, study_digest="d", run="s")


def test_an_older_round_under_a_newer_name_is_not_resumed(tmp_path: Path, key: Path) -> None:
    for index in (1, 2):
        save(tmp_path, _checkpoint(index))
    shutil.copytree(tmp_path / "round-00001", tmp_path / "round-00009")
    with pytest.raises(TrustError, match="round 1 under another name"):
        _latest(tmp_path)
    shutil.rmtree(tmp_path / "round-00009")
    found = _latest(tmp_path)
    assert found is not None and found.round_index == 2


FILES = (STATE, *(f"{name}.safetensors" for name in TENSORS))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["short", "gone", "garbage"])
def test_damage_is_named(tmp_path: Path, name: str, damage: str) -> None:
    save(tmp_path, _checkpoint(1))
    path = tmp_path / "round-00001" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if damage == "short" else b"{")
    with pytest.raises(ConfigError, match="damaged; delete it"):
        _latest(tmp_path)


@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_bit_of_a_signed_checkpoint_can_change(
    tmp_path_factory: pytest.TempPathFactory, name: str, place: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY, str(folder / "key"))
        save(folder, _checkpoint(1))
        path = folder / "round-00001" / name
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        path.write_bytes(content)
        with pytest.raises((TrustError, ConfigError)):
            _latest(folder)


def test_only_a_hubs_own_checkpoints_are_resumed(tmp_path: Path, key: Path) -> None:
    save(tmp_path, _checkpoint(1))
    assert _latest(tmp_path) is not None and key.stat().st_mode & 0o077 == 0
    (tmp_path / "round-00001" / SIGNATURE).unlink()
    with pytest.raises(TrustError, match="signature"):
        _latest(tmp_path)
    save(tmp_path, _checkpoint(2))
    key.unlink()
    with pytest.raises(TrustError, match="signature"):
        _latest(tmp_path)
