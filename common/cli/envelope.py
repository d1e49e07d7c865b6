"""``--json``: every command prints one document of one shape on stdout, also when it fails."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

SCHEMA_VERSION = 1
Status = Literal["ok", "failed", "error"]


@dataclass(slots=True)
class _State:
    """Of the command that runs: whether a document is wanted, and whether it was printed."""

    wanted: bool = False
    printed: bool = False


_state = _State()


def begin() -> None:
    """Forgets the command before; called once for each."""
    _state.wanted = _state.printed = False


def _want(value: bool) -> bool:
    _state.wanted = _state.wanted or value
    return value


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.", callback=_want)]
"""The option of a command that calls :func:`print_json`."""


def print_json(data: Any, status: Status = "ok") -> None:
    """Prints ``{"schema_version": 1, "status": ..., "data": ...}`` on stdout.

    Args:
        data: The command's own document, JSON values.
        status: ``ok``; ``failed`` where the document tells of something wrong and the exit code is not 0.
    """
    _state.printed = True
    document = {"schema_version": SCHEMA_VERSION, "status": status, "data": data}
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def print_error(exit_code: int, message: str) -> None:
    """Prints what went wrong with the status ``error``, where a document is wanted and none was printed."""
    if _state.wanted and not _state.printed:
        print_json({"exit_code": exit_code, "message": message}, "error")
