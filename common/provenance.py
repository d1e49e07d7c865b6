"""Which code and which library versions a process really runs."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("flwr", "torch", "torchvision", "opacus", "monai", "numpy", "scikit-learn", "hydra-core")


@cache
def code_digest() -> str:
    """Returns the SHA-256 (hex) over the sources of ``common`` and ``client`` that this process imported from.

    Flower's simulator may import a hospital's code from another folder than the hub's; equal digests show that
    both ran the same.
    """
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(p for package in ("common", "client") for p in (root / package).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Returns the installed versions of the packages a result depends on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
