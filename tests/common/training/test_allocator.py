"""malloc is told once, and where it cannot be told nothing breaks."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator

import pytest

from common.training.allocator import keep_large_blocks


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    keep_large_blocks.cache_clear()
    yield
    keep_large_blocks.cache_clear()


def test_glibc_takes_the_settings_and_others_are_left_alone() -> None:
    assert keep_large_blocks() is (platform.libc_ver()[0] == "glibc")
    assert keep_large_blocks() is keep_large_blocks()


def test_it_asks_the_library_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, option: int, value: int) -> int:
            calls.append((option, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert keep_large_blocks() and keep_large_blocks()
    # <malloc.h>: M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD.
    assert calls == [(-4, 0), (-1, -1), (-2, 64 << 20)]


def test_a_library_without_mallopt_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_large_blocks() is False


def test_a_refused_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def mallopt(self, option: int, value: int) -> int:
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert keep_large_blocks() is False
