"""The environment that Flower, Ray and torch are started with: quiet, offline, one thread a process."""

from __future__ import annotations

import os
from pathlib import Path

MARK = "ONCOFED_RUN_MARK"
"""Carried by every process that a run starts, however deep, so that none outlives the run unseen."""


def quiet_environment() -> dict[str, str]:
    """Returns the variables that keep Flower and Ray from calling home and from installing packages."""
    return {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray warns of a change to come unless this is set.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Weights come from files and packages; a look-up at a hub would tell somebody what is trained here.
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }


def _is_foreign(name: str) -> bool:
    """Whether a variable is a proxy or Flower's own: all that a simulation talks to is this machine."""
    return name.startswith("FLWR_") or name.lower().endswith("_proxy")


def flower_environment(*, flower_home: Path, mark: str, scripts: Path) -> dict[str, str]:
    """Returns the whole environment of a SuperLink of our own.

    Args:
        flower_home: Its ``FLWR_HOME``; nothing is read from the user's.
        mark: What :data:`MARK` is set to.
        scripts: Folder of Flower's commands; Flower starts its own children by name, so it leads ``PATH``.
    """
    inherited = {key: value for key, value in os.environ.items() if not _is_foreign(key)}
    path = os.pathsep.join([str(scripts), inherited.get("PATH", os.defpath)])
    own = {
        "FLWR_HOME": str(flower_home),
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",  # seconds; Flower's own second would only be waited for
        MARK: mark,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "SPT_NOENV": "1",  # Ray's workers rename themselves; without this the new name overwrites the mark
    }
    return inherited | quiet_environment() | own
