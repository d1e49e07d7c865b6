"""The folder that is submitted to Flower, put together from the packages that run: Flower walks all of it.

A checkout holds a virtual environment too, whose 50,000 files it would look at for seven seconds.
"""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

PACKAGES = ("common", "client", "server", "configs")
RUN_CONFIG = ("overrides", "out-dir", "resume")
"""The keys of ``[tool.flwr.app.config]``; Flower refuses others."""

_PYPROJECT = """\
[project]
name = "oncofed"
version = "{version}"
description = "OncoFed"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "oncofed"

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
{config}
"""


def app_dir(scratch: Path) -> Path:
    """Returns a new folder in ``scratch`` that is this Flower app."""
    return stage(Path(__file__).resolve().parents[2], scratch / "oncofed")


def stage(root: Path, target: Path) -> Path:
    """Returns ``target``, filled with the app's packages as they lie in ``root`` and a ``pyproject.toml``."""
    for package in PACKAGES:
        shutil.copytree(root / package, target / package, ignore=shutil.ignore_patterns("__pycache__"))
    config = "\n".join(f'{key} = ""' for key in RUN_CONFIG)
    text = _PYPROJECT.format(version=metadata.version("oncofed"), config=config)
    (target / "pyproject.toml").write_text(text, encoding="utf-8")
    return target
