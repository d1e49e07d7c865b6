"""The identity that Flower gives a hub's process, without which no message can be made."""

from __future__ import annotations

import pytest
from flwr.clientapp import ClientApp

from simulations.engine.grid import InProcessGrid


@pytest.fixture(autouse=True)
def _hub_process() -> None:
    InProcessGrid(ClientApp(), num_nodes=1)
