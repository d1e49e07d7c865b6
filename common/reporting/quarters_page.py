"""What the sites tell of models in use, as a page at the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.reporting.templates.quarters import QUARTERS
from common.trust.durable import make_folder, write_durably


def write_page(found: Mapping[str, Any], path: Path) -> Path:
    """Returns the path of the page, written whole or not at all; its folder is made.

    Args:
        found: ``promise``, ``drifting`` and ``quarters``, as ``oncofed-hub monitor show --json`` tells them.
        path: Of the new file.
    """
    from common.reporting.templates.base import render

    make_folder(path.parent)
    write_durably(path, render("quarters", {"quarters": QUARTERS}, {"m": found}))
    return path
