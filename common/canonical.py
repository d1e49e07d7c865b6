"""The one JSON text of a document, and its digest: what is signed, compared and named by hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical(document: Any) -> str:
    """Returns the one JSON text of ``document``: sorted keys, no spaces, floats as ``repr`` writes them.

    Raises:
        ValueError: A number is not finite.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def document_digest(document: Any) -> str:
    """Returns the SHA-256 (hex) of the canonical text of ``document``."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()
