"""What one check of ``oncofed-site doctor`` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.errors import ConfigError

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        fix: What to do; empty when there is nothing to do.
        exit_code: What ``doctor`` ends with when this is the first failure.
    """

    check: str
    status: Status
    found: str
    fix: str = ""
    exit_code: int = ConfigError.exit_code
