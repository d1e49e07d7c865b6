"""How a processor is asked for: in a site's ``site.yaml``, and in a simulation's ``simulation.device``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

DeviceSetting = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")]
"""``auto``: the first CUDA device, else the CPU. ``cpu``. ``cuda`` or ``cuda:n``: that one or none."""
