"""Turns what went wrong in a command into one paragraph on stderr and the exit code that tells the truth."""

from __future__ import annotations

import contextlib
import errno
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from common.cli.envelope import begin, print_error
from common.cli.terminal import printable
from common.errors import OncoFedError, UsageError

BUG = 70
INTERRUPTED = 130
WIDTH = 100
OF_A_PLACE = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
    errno.ENOENT, errno.ELOOP,
})  # fmt: skip
"""Why a place in the file system cannot be used: it is for the person who named it, and no bug."""


class Guarded:
    """Mixed into a Typer group, keeps tracebacks from its commands and those of its sub-groups."""

    def invoke(self, ctx: Any) -> Any:
        """Returns what the command returns, or exits with the code of what went wrong."""
        if ctx.parent is None:
            begin()
        with guard():
            return super().invoke(ctx)  # type: ignore[misc]


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Exits with the error's own code, 130 when interrupted, 70 for what nobody foresaw.

    Raises:
        SystemExit: Instead of any of those.
    """
    try:
        yield
    except OncoFedError as error:
        _end(error.exit_code, f"Error: {error}", str(error))
    except OSError as error:
        if not (error.filename and error.errno in OF_A_PLACE):
            _report_bug(error)
        said = f"{error.filename}: {error.strerror}. Name another place, or mend it or the right to use it"
        _end(UsageError.exit_code, f"Error: {said}", said)
    except KeyboardInterrupt as stopped:
        _end(INTERRUPTED, f"Interrupted. {stopped}", f"Interrupted. {stopped}")
    except Exception as error:
        if type(error).__module__.startswith("click."):
            raise
        _report_bug(error)


def _report_bug(error: Exception) -> NoReturn:
    said = f"This is a bug: {type(error).__name__}: {error}. Please report it with the file {_keep_traceback()}"
    _end(BUG, said, said)


def _end(exit_code: int, paragraph: str, message: str) -> NoReturn:
    """Says what went wrong to the person and, where JSON is wanted, to the program, and exits."""
    say(paragraph)
    print_error(exit_code, message)
    raise SystemExit(exit_code) from None


def say(text: str) -> None:
    """Writes one paragraph to stderr: wrapped for a person at a terminal, one line for a log, which is searched."""
    line = printable(" ".join(text.split()))
    if sys.stderr.isatty():
        line = textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False)
    print(line, file=sys.stderr)


def _keep_traceback() -> str:
    with tempfile.NamedTemporaryFile("w", prefix="oncofed-traceback-", suffix=".txt", delete=False) as file:
        file.write(traceback.format_exc())
    return file.name
