"""How far a command has come, on stderr: one line that counts on a terminal, ten lines otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

FEWEST = 50
"""Of fewer steps nothing is said: they are over at once."""


def counted(total: int, what: str, stream: TextIO | None = None) -> Callable[[int], None]:
    """Returns a function to be told how many of ``total`` are done; says nothing of fewer than :data:`FEWEST`.

    Args:
        total: Steps in all.
        what: What is counted, in the plural, as in ``images looked at``.
        stream: Where to; stderr by default.
    """
    out = sys.stderr if stream is None else stream
    tenth = max(1, total // 10)

    def tell(done: int) -> None:
        if out.isatty():
            out.write(f"\r{done} of {total} {what}" + ("\n" if done == total else ""))
            out.flush()
        elif done % tenth == 0 or done == total:
            print(f"{done} of {total} {what}", file=out, flush=True)

    return tell if total >= FEWEST else lambda done: None
