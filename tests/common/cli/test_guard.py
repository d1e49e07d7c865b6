"""What a person is told is one paragraph: wrapped at a terminal, whole in a log."""

from __future__ import annotations

import errno
import io
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cli.guard import WIDTH, guard, say

WORDS = st.lists(st.text("abcdefgh-/.", min_size=1, max_size=60), min_size=1, max_size=40)


class _Screen(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def said(text: str, *, terminal: bool) -> str:
    screen = _Screen(terminal=terminal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        say(text)
    return screen.getvalue()


@given(words=WORDS, terminal=st.booleans())
def test_no_word_is_lost_or_broken(words: list[str], terminal: bool) -> None:
    assert said("\n".join(words), terminal=terminal).split() == words


@given(words=WORDS)
def test_a_log_has_one_line_and_a_terminal_no_wide_one(words: list[str]) -> None:
    assert said(" ".join(words), terminal=False).count("\n") == 1
    assert all(len(line) <= WIDTH for line in said(" ".join(words), terminal=True).splitlines())


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.ENOENT, errno.EISDIR])
def test_a_place_that_cannot_be_used_is_no_bug(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, guard():
        raise OSError(number, os.strerror(number), "/x/out.csv")
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "/x/out.csv" in said and os.strerror(number) in said and "bug" not in said


@pytest.mark.parametrize("error", [OSError("odd"), OSError(errno.EPIPE, "pipe"), ValueError("x")])
def test_what_names_no_place_is_a_bug(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, guard():
        raise error
    assert ended.value.code == 70 and "This is a bug" in capsys.readouterr().err
