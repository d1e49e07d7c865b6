"""Texts of others on a terminal and in a log: they can neither move the cursor nor begin a line of their own."""

from __future__ import annotations

import logging

TIMED = "%(asctime)s %(levelname)s %(message)s"
"""How the services write a line of their logs."""


def printable(text: str) -> str:
    r"""Returns the text with each control sign, line end and invisible sign as its escape in Python.

    >>> print(printable("run\x1b[2K\nall is well"))
    run\x1b[2K\nall is well
    """
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


class LineFormatter(logging.Formatter):
    """Writes the words of each message in one line; a traceback below it keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        return printable(super().formatMessage(record))
