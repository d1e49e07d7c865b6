"""What tests of the node share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def collected() -> Iterator[None]:
    """Runs the garbage collector after the test, so that what a library left open is charged to this one."""
    yield
    gc.collect()
