"""Which code and which library versions a process really runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

PROTOCOL_VERSION = 3
"""Of the messages between hub and sites. It rises with every change that an older side could misread."""
MATHEMATICS = (
    "common/protocol/aggregation.py", "common/protocol/secure_sum.py", "common/config/study.py", "common/data",
    "common/evaluation", "common/models", "common/privacy", "common/training", "client/site/home.py",
    "client/site/own_models.py", "client/site/summed.py",
)  # fmt: skip
"""Sources that decide which numbers a site computes; all others may differ between a hub and its sites."""
PACKAGES = ("flwr", "torch", "torchvision", "opacus", "monai", "numpy", "scikit-learn", "hydra-core")
_ROOT = Path(__file__).resolve().parent.parent


@cache
def code_digest() -> str:
    """Returns the SHA-256 (hex) over the sources of ``common`` and ``client`` that this process imported from.

    Flower's simulator may import a hospital's code from another folder than the hub's; equal digests show that
    both ran the same.
    """
    return sources_digest(_ROOT, ("common", "client"))


@cache
def mathematics_digest() -> str:
    """Returns the SHA-256 (hex) over the sources in :data:`MATHEMATICS` that this process imported from.

    Hub and sites take part in one run only if theirs are equal, so a hospital can be upgraded by itself as long as
    nothing changed that its numbers depend on.
    """
    return sources_digest(_ROOT, MATHEMATICS)


def sources_digest(root: Path, places: Sequence[str]) -> str:
    """Returns the SHA-256 (hex) over names and bytes of the Python files in ``places``, relative to ``root``."""
    digest = hashlib.sha256()
    for path in sorted(found for place in places for found in _sources(root / place)):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources(place: Path) -> Iterable[Path]:
    return place.rglob("*.py") if place.is_dir() else (place,)


def release() -> str:
    """Returns the installed version of OncoFed."""
    return metadata.version("oncofed")


def versions() -> dict[str, str]:
    """Returns the installed versions of the packages a result depends on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
