"""The environment of Flower's processes at hub and site: quiet, offline, one thread a process, nobody's own home."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV")
"""Of the user's environment; proxies and Flower's own settings come from our files only."""


def quiet_environment() -> dict[str, str]:
    """Returns the variables that keep Flower from calling home and from installing packages."""
    return {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        # Weights come from files and packages; a look-up at a hub would tell somebody what is trained here.
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "PYTHONUNBUFFERED": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
    }


def flower_environment(home: Path, **own: str) -> dict[str, str]:
    """Returns the whole environment of a Flower process whose ``FLWR_HOME`` is ``home``; ``own`` comes on top."""
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return kept | quiet_environment() | {"FLWR_HOME": str(home)} | own
