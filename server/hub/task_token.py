"""Keeps the token of a task from the other users of the hub's machine, who can read every process's arguments.

Whoever has it may push and pull the run's messages. Flower's SuperExec writes it into the arguments of the ServerApp;
here it goes by a file that has no name and mode 0600, which the child inherits and which is gone when it ends.
``tests/server/hub/test_task_token.py`` fails on a Flower that starts its ServerApps otherwise.
"""

from __future__ import annotations

import subprocess
import tempfile
from types import SimpleNamespace
from typing import Any


def hide_token() -> None:
    """Has Flower's SuperExec of this process hand over tokens unseen; call it before the SuperExec starts."""
    from flwr.supercore.superexec.executor import subprocess_executor

    vars(subprocess_executor)["subprocess"] = SimpleNamespace(Popen=_start, DEVNULL=subprocess.DEVNULL)


def _start(arguments: list[str], **named: Any) -> subprocess.Popen[bytes]:
    """Starts the process with ``--token-file`` for ``--token``."""
    place = arguments.index("--token")
    with tempfile.TemporaryFile("w", encoding="utf-8") as file:
        file.write(arguments[place + 1])
        file.flush()
        file.seek(0)
        given = ["--token-file", f"/dev/fd/{file.fileno()}"]
        unseen = [*arguments[:place], *given, *arguments[place + 2 :]]
        return subprocess.Popen(unseen, pass_fds=[file.fileno()], **named)
