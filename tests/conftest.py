"""What every test shares: the real data's place, one thread, Hypothesis without a stopwatch."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from simulations.engine.environment import quiet_environment

os.environ.update(quiet_environment())
_CACHE = tempfile.TemporaryDirectory(prefix="oncofed-test-cache-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name  # nothing of a user's, and nothing into it

ROOT = Path(__file__).resolve().parent.parent

# Machines that run tests are shared and slow at times: no test may fail for that.
settings.register_profile("oncofed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("oncofed")


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public data sets: ``ONCOFED_DATA``, else ``../shared/data`` beside the checkout."""
    folder = Path(os.environ.get("ONCOFED_DATA", ROOT.parent / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.fail(f"These tests need the public data sets in {folder}; name their folder in ONCOFED_DATA")
    return folder


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Keeps torch from starting one thread a core in each worker."""
    import torch

    torch.set_num_threads(1)
