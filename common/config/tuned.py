"""On which data the settings of a study were tried before the hospitals agreed on them."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from pydantic import ConfigDict, Field

NOT_STATED = "hyper-parameters, chosen before the study"
COPIES = {"breastmnist": "busi"}
"""Data sets whose images are those of another."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TunedConfig:
    """The sweep that chose the settings; without one, nothing is stated about how they were chosen."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    sweep: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """SHA-256 of the sweep: its space, its fixed settings and what every trial gave; empty: there was none."""
    data: Annotated[str, Field(pattern=r"^[a-z0-9_]{0,40}$")] = ""
    """Data set whose validation patients were asked; ``manifest`` says nothing of whose images they are."""
    trials: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """How many settings were tried."""

    def on(self, data: str) -> bool:
        """Returns whether a sweep asked the patients of the data set ``data``, as far as names can tell."""
        return bool(self.sweep) and origin(self.data) == origin(data)

    def in_words(self, data: str) -> str:
        """Returns what a study on the data set ``data`` must say of how its settings were chosen."""
        if not self.sweep:
            return NOT_STATED
        found = f"by a sweep of {self.trials} trials on {self.data} (sweep {self.sweep[:12]})"
        if self.on(data):
            return f"hyper-parameters, chosen on the study's own patients {found}: what that tells about them is added"
        return f"hyper-parameters, chosen {found}, not on the study's patients"


def origin(data: str) -> str:
    """Returns the data set that the images of ``data`` come from."""
    return COPIES.get(data, data)
