"""What tests of the node share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def collected() -> Iterator[None]:
    """Runs the garbage collector after a file of tests, so that what a library left open is charged to this file."""
    yield
    gc.collect()
