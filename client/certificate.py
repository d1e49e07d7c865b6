"""The site's own readiness certificate, kept in its home for studies that ask for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.errors import DataError

FILE = "readiness.json"


def read_certificate(home: Path) -> dict[str, Any]:
    """Returns the certificate in the site's home.

    Raises:
        DataError: There is none, or it cannot be read.
    """
    path = home / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"The study asks for a readiness certificate and there is none. {_how(home)}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}). {_how(home)}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no certificate. {_how(home)}")
    return found


def _how(home: Path) -> str:
    return f"Make it with: oncofed-site data certify --out {home}"
