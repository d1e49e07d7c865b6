"""Decoders in a process of their own: a file that kills, stalls or bloats them costs one request."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from common.data.pixels import isolated
from common.data.pixels.isolated import decode
from common.errors import DataError
from tests.common.data.layouts import dicom, film, save


def test_an_array_comes_back_as_it_was(tmp_path: Path) -> None:
    path = save(dicom(film(3)), tmp_path / "a.dcm")
    assert np.array_equal(decode(path, "dicom", most_bytes=1 << 20), film(3))


def test_a_request_that_never_ends_is_ended_and_the_next_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(dicom(film(3)), tmp_path / "a.dcm")
    decode(path, "dicom", most_bytes=1 << 20)
    os.mkfifo(tmp_path / "stalls")
    monkeypatch.setattr(isolated, "SECONDS", 0.2)
    with pytest.raises(DataError, match=r"stalls ended its decoder \(no answer within"):
        decode(tmp_path / "stalls", "dicom", most_bytes=1 << 20)
    monkeypatch.undo()
    assert decode(path, "dicom", most_bytes=1 << 20).shape == (96, 72)


def test_memory_and_answers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(dicom(film(3, shape=(2000, 2000))), tmp_path / "a.dcm")
    with pytest.raises(DataError, match=r"expected numbers of at most 1000 bytes"):
        decode(path, "dicom", most_bytes=1000)
    decode(path, "dicom", most_bytes=1 << 24)
    monkeypatch.setattr(isolated, "BASE_BYTES", 1)
    with pytest.raises(DataError, match=r"a\.dcm (cannot be decoded|ended its decoder)"):
        decode(path, "dicom", most_bytes=8_000_000)
    monkeypatch.undo()
    assert decode(path, "dicom", most_bytes=1 << 24).shape == (2000, 2000)


def test_what_the_worker_says_of_a_file_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"nonsense" * 10)
    with pytest.raises(DataError, match=r"x\.dcm cannot be decoded \(.+\)"):
        decode(tmp_path / "x.dcm", "dicom", most_bytes=100)


def test_a_dead_worker_is_replaced_unnoticed(tmp_path: Path) -> None:
    path = save(dicom(film(3)), tmp_path / "a.dcm")
    decode(path, "dicom", most_bytes=1 << 20)
    isolated._WORKERS[0]._process.kill()
    isolated._WORKERS[0]._process.wait()
    assert decode(path, "dicom", most_bytes=1 << 20).shape == (96, 72)
