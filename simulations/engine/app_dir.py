"""The folder that is submitted to Flower: the checkout, or one put together from the installed packages."""

from __future__ import annotations

import shutil
import tomllib
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
    """Returns a folder that is this Flower app; it is made in ``scratch`` unless the code runs from a checkout."""
    root = Path(__file__).resolve().parents[2]
    return root if _is_flower_app(root) else stage(root, scratch / "oncofed")


def stage(root: Path, target: Path) -> Path:
    """Returns ``target``, filled with the app's packages as they lie in ``root`` and a ``pyproject.toml``."""
    for package in PACKAGES:
        shutil.copytree(root / package, target / package, ignore=shutil.ignore_patterns("__pycache__"))
    config = "\n".join(f'{key} = ""' for key in RUN_CONFIG)
    text = _PYPROJECT.format(version=metadata.version("oncofed"), config=config)
    (target / "pyproject.toml").write_text(text, encoding="utf-8")
    return target


def _is_flower_app(folder: Path) -> bool:
    try:
        document = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return bool(document.get("project", {}).get("name") == "oncofed" and "flwr" in document.get("tool", {}))
