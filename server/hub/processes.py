"""Flower's commands as the hub starts them: each ends with its parent, however that ends.

``python -m server.hub.processes superlink|superexec|serverapp|flwr [Flower's arguments]``, or ``proxy [nginx's]``
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import sys
from pathlib import Path

from common.flower.patches import endure_cuts, quicken, show_certificate, wait_for_tasks
from common.services.supervisor import die_with_parent
from server.hub import fleet_guard, gate
from server.hub.holder import AGGREGATOR_LOCK, holder, mark
from server.hub.proxy import OPEN_FILES, nginx
from server.hub.task_token import hide_token

CERTIFICATE_VARIABLE = "ONCOFED_HUB_OPERATOR"
"""Names the operator's certificate, whose key lies beside it, where a proxy asks for it."""
SECRET_VARIABLE = "ONCOFED_HUB_PROXY_SECRET"
"""Names the file of the secret by which the SuperLink knows the proxy, where there is one."""
PATIENCE_VARIABLE = "ONCOFED_HUB_PATIENCE"
"""For how many seconds the SuperLink waits for a task's first sign of life."""


def main() -> None:
    """Runs one of Flower's commands in this process."""
    die_with_parent()
    name, sys.argv = sys.argv[1], [f"flower-{sys.argv[1]}", *sys.argv[2:]]
    if name == "proxy":
        _open_files(OPEN_FILES)
        os.execv(nginx(), ["nginx", *sys.argv[1:]])
    quicken()
    endure_cuts()
    if name == "superlink":
        from flwr.superlink.cli.flower_superlink import flower_superlink as command

        wait_for_tasks(float(os.environ[PATIENCE_VARIABLE]))
        gate.install(_proxy_secret())
        fleet_guard.install()
    elif name == "superexec":
        from flwr.supercore.cli.flower_superexec import flower_superexec as command

        hide_token()
    elif name == "serverapp":
        _hold(Path(os.environ["ONCOFED_HUB_SITES"]).with_name(AGGREGATOR_LOCK))
        from flwr.superlink.cli.flwr_serverapp import flwr_serverapp as command
    elif name == "flwr":
        if certificate := os.environ.get(CERTIFICATE_VARIABLE):
            show_certificate(Path(certificate), Path(certificate).with_suffix(".key"))
        from flwr.cli.app import app as command
    else:
        raise SystemExit(f"Expected superlink, superexec, serverapp, flwr or proxy, got {name}")
    command()


def _proxy_secret() -> str:
    path = os.environ.get(SECRET_VARIABLE)
    return Path(path).read_text(encoding="ascii") if path else ""


def _open_files(wanted: int) -> None:
    """Lets this process and what it becomes hold so many files, or as many as its user may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _hold(path: Path) -> None:
    """Waits until no other aggregator runs, then holds the lock, with this process's mark in it, while it lives."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, mark().encode())


def aggregator_lives(folder: Path) -> bool:
    """Tells whether an aggregator of the hub in ``folder`` runs."""
    return holder(folder) is not None


def write_launcher(folder: Path, log: Path) -> None:
    """Writes the ``flwr-serverapp`` that the SuperExec finds first on its PATH; its output goes to ``log``."""
    folder.mkdir(parents=True, exist_ok=True)
    launcher = folder / "flwr-serverapp"
    text = f'#!/bin/sh\nexec "{sys.executable}" -m server.hub.processes serverapp "$@" >>"{log}" 2>&1\n'
    launcher.write_text(text, encoding="utf-8")
    launcher.chmod(0o700)


if __name__ == "__main__":
    main()
