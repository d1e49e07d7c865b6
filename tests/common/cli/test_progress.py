"""A person sees that a long command goes on; a log gets ten lines of it."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from common.cli.progress import FEWEST, counted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(total: int, out: io.StringIO) -> str:
    tell = counted(total, "images looked at", out)
    for done in range(1, total + 1):
        tell(done)
    return out.getvalue()


@given(st.integers(FEWEST, 5000))
def test_a_log_gets_some_ten_lines_that_end_with_all(total: int) -> None:
    lines = told(total, io.StringIO()).splitlines()
    assert 10 <= len(lines) <= 20
    assert lines[-1] == f"{total} of {total} images looked at"


def test_a_terminal_gets_one_line_and_a_short_command_none() -> None:
    text = told(100, Terminal())
    assert text.count("\n") == 1 and text.endswith("\r100 of 100 images looked at\n")
    assert told(FEWEST - 1, Terminal()) == told(FEWEST - 1, io.StringIO()) == ""
